"""kill -9 at every step of removing a node and of rotating the key: quorum stays, and a retry succeeds.

In turn, the node that is asked and another one die at each step of their work (crashing_daemon.py names the steps).
All of it takes minutes, so the first steps of each are tried unless TOTEMD_ALL_STEPS is set.
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from managed_nodes import ManagedCluster, ManagedNode, wait
from totemd.cluster.identity import new_identity
from totemd.cluster.nodelist_text import ListedNode, add_node
from totemd.seal.keys import KeyRing

STEPS = (
    "check", "checked", "store state", "stored state", "store committed", "stored committed", "write", "keys", "written"
)  # fmt: skip
ALL_STEPS = bool(os.environ.get("TOTEMD_ALL_STEPS"))
CASES = [(step, who) for step in STEPS for who in (0, 2)]
SHORT = [("stored state", 2), ("stored committed", 0), ("keys", 2)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ManagedCluster]:
    # Short, because the path of a Unix socket may have 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="totemd-c-") as directory,
        ManagedCluster(Path(directory), token_ms=300) as made,
    ):
        made.start()
        yield made


def in_force(node: ManagedNode) -> int:
    with node.client() as client:
        return client.config_show().version


def with_crash(cluster: ManagedCluster, step: str, who: int, *command: str) -> None:
    """Run a command on the first node while a node dies at that step; all nodes run again then."""
    victim = cluster.nodes[who]
    others = [node for node in cluster.nodes if node is not victim]
    victim.kill()
    cluster.wait_quorate(others)
    victim.start(crash_at=step)
    cluster.wait_quorate()
    cluster.nodes[0].ctl("cluster", *command, check=None)
    wait(lambda: not victim.running, f"{victim.name} to die at the step {step!r}")
    cluster.wait_quorate(others)
    victim.start()
    cluster.wait_quorate()


def agreed(cluster: ManagedCluster) -> None:
    """All have one version in force, in their files, and one key to send with."""
    wait(lambda: len({in_force(node) for node in cluster.nodes}) == 1, "one version")
    cluster.wait_version(in_force(cluster.nodes[0]))
    wait(lambda: len({sending(node) for node in cluster.nodes}) == 1, "one key")


def sending(node: ManagedNode) -> bytes:
    return KeyRing.parse(node.keyfile.read_bytes()).sending.ident


@pytest.mark.parametrize(("step", "who"), CASES if ALL_STEPS else SHORT)
def test_rotating_the_key(cluster: ManagedCluster, step: str, who: int) -> None:
    before = sending(cluster.nodes[0])
    with_crash(cluster, step, who, "rotate-key")
    agreed(cluster)
    if sending(cluster.nodes[0]) == before:
        cluster.nodes[0].ctl("cluster", "rotate-key")
        agreed(cluster)
    assert sending(cluster.nodes[0]) != before


@pytest.mark.parametrize(("step", "who"), CASES if ALL_STEPS else SHORT)
def test_removing_a_node(cluster: ManagedCluster, tmp_path: Path, step: str, who: int) -> None:
    """Of a node without votes that never ran, so that there is one to be removed each time."""
    first = cluster.nodes[0]
    number = 10 + CASES.index((step, who))
    identity = new_identity(os.urandom)
    address = first.address.rpartition(".")[0] + f".{number}"
    ghost = ListedNode(number, f"ghost{number}", address, identity.uuid, identity.public_key)
    file = tmp_path / "corosync.conf"
    file.write_text(add_node(first.text(), replace(ghost, votes=0)))
    first.ctl("cluster", "config", "apply", str(file))
    agreed(cluster)
    before = sending(first)
    with_crash(cluster, step, who, "remove", ghost.name)
    agreed(cluster)
    if ghost.address in first.text():
        first.ctl("cluster", "remove", ghost.name)
        agreed(cluster)
    assert ghost.address not in first.text()
    assert identity.uuid.hex() in first.text(), "its tombstone"
    assert sending(first) != before, "the new key comes in the same change"
    with first.client() as client:
        assert client.status().votes.expected == 3
