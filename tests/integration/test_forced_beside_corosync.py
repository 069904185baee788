"""Expected votes by force in a ring with real corosync nodes: they take the number, ignore what is ours, and return."""

import re

import pytest

from totemd_lab.configuration import RingSettings
from totemd_lab.nodes import CorosyncNode, TotemdNode
from totemd_lab.ring import LabMaker, wait_until

pytestmark = [pytest.mark.root, pytest.mark.corosync]


def expected_votes(node: CorosyncNode) -> int:
    _, text = node.tool("corosync-quorumtool", "-s")
    found = re.search(r"^Expected votes: +(\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def test_corosync_expects_what_is_forced_and_then_what_is_configured(make_lab: LabMaker) -> None:
    lab = make_lab("TCC", RingSettings("udp", token_ms=800, token_coefficient_ms=0))
    ours, theirs, third = lab.nodes
    assert isinstance(ours, TotemdNode)
    assert isinstance(theirs, CorosyncNode)
    lab.start()
    assert lab.wait_formed().quorate
    third.kill()
    assert lab.wait_formed([ours, theirs]).members == (1, 2)
    status, text = ours.control("cluster", "expected", "2", "--yes", "--for", "3")
    assert status == 0, text
    assert wait_until(lambda: expected_votes(theirs) == 2, 5)
    assert "by force" in ours.control("cluster", "status")[1]
    assert wait_until(lambda: expected_votes(theirs) == 3, 10)
    assert "by force" not in ours.control("cluster", "status")[1]
    assert lab.wait_formed([ours, theirs]).quorate
