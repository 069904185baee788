"""libcpg and libquorum, unmodified, on a node of totemd and on a real one: the same calls, the same results."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cpg_probe
from totemd_lab.nodes import Node
from totemd_lab.places import run
from totemd_lab.ring import LabMaker

pytestmark = [pytest.mark.root, pytest.mark.corosync]

PATIENCE_S = 120.0


def probe(node: Node, scenario: str) -> list[str]:
    """Lines that the probe prints beside the node."""
    argv = [sys.executable, str(Path(cpg_probe.__file__)), scenario]
    result = run(node.place, argv, check=False, timeout_s=PATIENCE_S)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}\n{node.log_text()}"
    return result.stdout.splitlines()


@pytest.fixture
def node(make_lab: LabMaker) -> Iterator[Node]:
    """A node of totemd; what clients used in memory must be gone after the test."""
    lab = make_lab("T")
    lab.start()
    lab.wait_formed()
    ours = lab.nodes[0]
    yield ours
    assert ours.running()
    left = run(ours.place, ["ls", "/dev/shm"]).stdout.split()
    assert [entry for entry in left if entry.startswith(("qb-", "corosync"))] == []


@pytest.mark.parametrize("scenario", ["groups", "names", "large", "zero_copy", "flood", "quorum"])
def test_both_daemons_give_the_same(node: Node, make_lab: LabMaker, scenario: str) -> None:
    lab = make_lab("C")
    lab.start()
    lab.wait_formed()
    assert probe(node, scenario) == probe(lab.nodes[0], scenario)


def test_a_connection_may_join_again(node: Node) -> None:
    """With a real daemon the second join gives EXIST, or libcpg asks for ever."""
    lines = probe(node, "rejoin")
    assert lines.count("one: join b'a' 1") == 2
    assert lines[-4:] == [
        "one: delivered b'b' 1 me b'in b'",
        "one: leave b'b' 1",
        "one: members b'b' [] left 1 me leave",
        "one: finalize 1",
    ]


def test_buffers_beyond_the_bound_are_refused_when_they_are_used(node: Node) -> None:
    lines = probe(node, "zero_copy_many")
    assert f"one: multicasts {[1] * 16 + [12] * 24}" in lines
    assert sum(line.startswith("one: delivered") for line in lines) == 17
