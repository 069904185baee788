"""The laboratory itself, on real corosync alone: what the other tests rely on."""

from pathlib import Path

import pytest

from totemd_lab.configuration import RingSettings
from totemd_lab.faults import drop_multicasts, dropped_packets, heal, partition
from totemd_lab.loads import Load, LoadPlan, check_one_order, mixed_sizes
from totemd_lab.ring import LabMaker

pytestmark = [pytest.mark.root, pytest.mark.corosync]


def test_corosync_nodes_agree_on_one_order_under_loss(make_lab: LabMaker, libcpg_program: Path) -> None:
    lab = make_lab("CCC")
    lab.start()
    lab.wait_formed()
    for node in lab.nodes:
        drop_multicasts(node, 5)
    sizes = {node.nodeid: mixed_sizes(node.nodeid, 200, big_count=1) for node in lab.nodes}
    plans = {nodeid: LoadPlan(3, sizes[nodeid], 603) for nodeid in sizes}
    loads = [Load(node, plans[node.nodeid], libcpg_program) for node in lab.nodes]
    for load in loads:
        load.finish()
    check_one_order(loads)
    assert any(dropped_packets(node) for node in lab.nodes)


def test_partition_and_heal(make_lab: LabMaker) -> None:
    lab = make_lab("CCC", RingSettings(token_ms=600, token_coefficient_ms=0))
    lab.start()
    lab.wait_formed()
    partition(lab.nodes[:2], lab.nodes[2:])
    assert lab.wait_formed(lab.nodes[:2]).quorate
    assert not lab.wait_formed(lab.nodes[2:]).quorate
    for node in lab.nodes:
        heal(node)
    assert lab.wait_formed().quorate
