"""A ring under a flood of datagrams that mean it no good keeps its membership, its order and its size."""

import sys
from pathlib import Path

import pytest

from totemd_lab import native
from totemd_lab.configuration import RingSettings
from totemd_lab.loads import SOURCE, Load, LoadPlan, check_one_order, mixed_sizes
from totemd_lab.nodes import Node, TotemdNode
from totemd_lab.places import Place, Process
from totemd_lab.ring import Lab, LabMaker

pytestmark = [pytest.mark.root, pytest.mark.slow]

FROM_STRANGER = 700_000
FROM_MEMBER = 300_000
BELIEVED = 100_000
RATE_PER_S = 15_000
"""Of each flood. More would fill the kernel's buffers, and what is dropped there tests nothing."""

PATIENT = RingSettings(token_ms=10_000, token_coefficient_ms=0)
"""The floods take all of a small machine's processors, and the kernel may drop a token or four of its copies."""

SEED = 20

GROWTH_MAX_BYTES = 48 * 1024 * 1024


def flood(lab: Lab, place: Place, address: str, kind: str, count: int, rate_per_s: int = RATE_PER_S) -> Process:
    """Start a flood from there at all other nodes."""
    targets = [node.member.address for node in lab.nodes if node.member.address != address]
    assert lab.settings.mcast_address is not None
    where = [lab.settings.mcast_address, str(lab.settings.port), address]
    argv = [sys.executable, "-m", "totemd_lab.flood", kind, str(count), str(rate_per_s), str(SEED), *where, *targets]
    return Process(place, argv, lab.directory / f"flood-{kind}", {"PYTHONPATH": str(SOURCE.parent)})


def dropped(node: Node) -> int:
    """How many datagrams a node has counted as dropped."""
    assert isinstance(node, TotemdNode)
    stats = native.ask(node.socket, "stats", timeout_s=10)
    assert stats is not None
    return sum(stats["dropped"].values())


@pytest.mark.timeout(300)
def test_flood(make_lab: LabMaker, libcpg_program: Path) -> None:
    lab = make_lab("TTT", PATIENT)
    lab.start()
    before = lab.wait_formed()
    sizes = {node.nodeid: node.rss_bytes() for node in lab.nodes}
    member = lab.node(3)
    floods = [
        flood(lab, *lab.add_stranger(), "hostile", FROM_STRANGER),
        flood(lab, member.place, member.member.address, "malformed", FROM_MEMBER),
    ]
    loads = []
    for node in lab.nodes:
        plan = LoadPlan(3, mixed_sizes(node.nodeid, 300, largest=8192), 900, timeout_s=120)
        loads.append(Load(node, plan, libcpg_program))
    for load in loads:
        load.finish()
    for process in floods:
        assert process.wait(200) == 0, process.output.read_text()
    check_one_order(loads)
    assert lab.wait_formed() == before, lab.describe()
    for node in lab.nodes:
        growth = node.rss_bytes() - sizes[node.nodeid]
        print(f"{node!r}: {dropped(node)} dropped, grown by {growth >> 10} KiB")
        assert growth < GROWTH_MAX_BYTES
        # Each of the two floods reaches a node with every other datagram at least.
        assert dropped(node) > FROM_STRANGER // 2, "the flood was lost before it reached the daemon"
        assert node.log.stat().st_size < 200_000, "the log must not grow with the flood"


def test_flood_of_believed_packets(make_lab: LabMaker, libcpg_program: Path) -> None:
    """Without the check of source addresses anybody's word counts: rings come and go, but nobody stops or grows, and
    when it is over they are one ring again."""
    settings = RingSettings(token_ms=600, token_coefficient_ms=0, totem={"block_unlisted_ips": "no"})
    lab = make_lab("TTT", settings)
    lab.start()
    lab.wait_formed()
    sizes = {node.nodeid: node.rss_bytes() for node in lab.nodes}
    process = flood(lab, *lab.add_stranger(), "hostile", BELIEVED, rate_per_s=10_000)
    assert process.wait(100) == 0, process.output.read_text()
    lab.wait_formed(lab.nodes, timeout_s=30)
    for node in lab.nodes:
        assert node.rss_bytes() - sizes[node.nodeid] < GROWTH_MAX_BYTES
        assert "Traceback" not in node.log_text()
    plans = [LoadPlan(3, mixed_sizes(node.nodeid, 50, largest=8192), 150) for node in lab.nodes]
    loads = [Load(node, plan, libcpg_program) for node, plan in zip(lab.nodes, plans, strict=True)]
    for load in loads:
        load.finish()
    check_one_order(loads)
