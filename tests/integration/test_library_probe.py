"""libcpg and libquorum, unmodified, on a node of totemd and on a real one: the same calls, the same results."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cpg_probe
from totemd_lab.nodes import Node
from totemd_lab.places import Process, run
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


@pytest.mark.parametrize("kinds", ["CT", "TT", "CTT"])
def test_members_on_nodes_of_both_kinds_have_one_history(make_lab: LabMaker, tmp_path: Path, kinds: str) -> None:
    lab = make_lab(kinds)
    lab.start()
    lab.wait_formed()
    argv = [sys.executable, str(Path(cpg_probe.__file__)), "exchange", str(len(kinds))]
    outputs = [tmp_path / f"{node.nodeid}" for node in lab.nodes]
    members = [Process(node.place, argv, output) for node, output in zip(lab.nodes, outputs, strict=True)]
    try:
        statuses = [member.wait(PATIENCE_S) for member in members]
    finally:
        for member in members:
            member.close()
    texts = [output.read_text() for output in outputs]
    assert statuses == [0] * len(kinds), "\n".join([*texts, lab.describe()])
    assert all("as sent\n" in text and "not as sent" not in text for text in texts)
    histories = [[line for line in text.splitlines() if line.startswith("history")] for text in texts]
    assert len(histories[0]) == 8 * len(kinds)
    assert all(history == histories[0] for history in histories)


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
