"""The rules of cluster management, by number; protocol/, chapter "Proof", tells where each of them is shown.

Here are those that need no history of their own: the arithmetic, the configuration of many nodes, and what one daemon
that dies leaves to its clients.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from managed_nodes import ManagedCluster
from totemd.client.errors import TotemdClientError
from totemd.cluster.nodelist_text import ListedNode, add_node, new_cluster, remove_node, set_votes
from totemd.cluster.text import digest, with_version
from totemd.config import Configuration, load
from totemd.config.model import QuorumSettings
from totemd.errors import ConfigError
from voting_cluster import VotingCluster

CLUSTER_ID = bytes(range(16))
EXIT_ERROR = 1


@settings(max_examples=150)
@given(st.data())
def test_r01_one_quorate_component_at_most(data: st.DataObject) -> None:
    """However up to seven nodes with zero to three votes are split, crash and start again."""
    votes = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=7).filter(any), label="votes")
    cluster = VotingCluster(len(votes), votes=dict(enumerate(votes, 1)))
    for _ in range(data.draw(st.integers(1, 4), label="changes")):
        places = data.draw(st.lists(st.integers(-1, 3), min_size=len(votes), max_size=len(votes)), label="places")
        components = [
            [nodeid for nodeid, place in enumerate(places, 1) if place == component] for component in range(4)
        ]
        cluster.form(*filter(None, components))
        quorate = {cluster[nodeid].members for nodeid in cluster.quorate()}
        assert len(quorate) <= 1
        for members in {node.members for node in cluster.nodes.values()}:
            present = sum(votes[nodeid - 1] for nodeid in members)
            assert (members in quorate) == (present >= (sum(votes) + 2) // 2)


def test_r02_the_number_of_votes_that_is_a_quorum() -> None:
    """max((E + 2) div 2, (T + 2) div 2): half and one more, of what is expected or of what is present."""
    for expected in range(1, 33):
        cluster = VotingCluster(32, QuorumSettings(expected_votes=expected))
        for present in (1, expected, (expected + 33) // 2, 32):
            cluster.form()
            cluster.form(range(1, present + 1))
            quorum = cluster[1].votes.get_info(1).quorum
            assert quorum == max((expected + 2) // 2, (present + 2) // 2)


def _node(nodeid: int) -> ListedNode:
    return ListedNode(nodeid, f"n{nodeid}", f"192.0.2.{nodeid}", bytes([nodeid]) * 16, bytes([nodeid]) * 32)


def _load(text: str, address: str) -> Configuration:
    return load(
        text,
        file="corosync.conf",
        resolve=lambda name, _: [name],
        local_addresses=[address],
        hostname="host",
        local_override=None,
        uidgid_files={},
        resolve_user=lambda name: 0,
        resolve_group=lambda name: 0,
    )


def test_r05_thirty_one_joins_raise_the_version_once_for_each_change() -> None:
    """Each join is two changes, and every node reads the same text as itself."""
    text = new_cluster(name="sea", cluster_id=CLUSTER_ID, node=_node(1))
    version = 1
    for nodeid in range(2, 33):
        before = digest(text)
        joining = replace(_node(nodeid), votes=0, joining_votes=1)
        version += 1
        text = with_version(add_node(text, joining), version)
        assert _load(text, "192.0.2.1").config_version == version
        version += 1
        text = with_version(set_votes(text, nodeid, 1), version)
        assert _load(text, "192.0.2.1").config_version == version
        assert digest(text) != before
    assert version == 63
    for nodeid in range(1, 33):
        seen = _load(text, f"192.0.2.{nodeid}")
        assert seen.local.nodeid == nodeid
        assert seen.quorum.expected_votes == 32
        assert [node.nodeid for node in seen.nodes] == list(range(1, 33))


def test_r08_the_id_of_a_removed_node_is_nobodys() -> None:
    text = add_node(new_cluster(name="sea", cluster_id=CLUSTER_ID, node=_node(1)), _node(2))
    removed = with_version(remove_node(text, 2, 2), 2)
    assert _load(removed, "192.0.2.1").removed[0].nodeid == 2
    with pytest.raises(ConfigError, match="2"):
        _load(add_node(removed, _node(2)), "192.0.2.1")


@pytest.fixture(scope="module")
def cluster() -> Iterator[ManagedCluster]:
    # Short, because the path of a Unix socket may have 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="totemd-r-") as directory,
        ManagedCluster(Path(directory), token_ms=300) as made,
    ):
        made.start()
        yield made


def test_r03_all_members_show_the_same(cluster: ManagedCluster) -> None:
    """But for who they are themselves."""
    views = []
    for node in cluster.nodes:
        nodes = node.json("cluster", "nodes", "--all")
        for entry in nodes if isinstance(nodes, list) else nodes["nodes"]:
            entry.pop("local", None)
        status = node.json("status")
        votes = {key: status[key] for key in ("cluster_name", "ring", "quorate", "votes", "flags")}
        members = [{**member, "local": None} for member in status["members"]]
        views.append((nodes, votes, members))
    assert views[0] == views[1] == views[2]


def test_r11_who_has_lost_the_daemon_can_change_nothing(cluster: ManagedCluster, tmp_path: Path) -> None:
    """At once: no call goes on as if there were quorum, and none waits for a daemon that is gone."""
    node = cluster.nodes[0]
    file = tmp_path / "corosync.conf"
    file.write_text(node.text().replace("token: 300", "token: 310"))
    before = file.read_text()
    with node.client() as client:
        assert client.status().quorate
        node.kill()
        begun = time.monotonic()
        with pytest.raises(TotemdClientError):
            client.status()
        told = node.ctl("cluster", "config", "apply", str(file), check=None)
        assert told.returncode == EXIT_ERROR, told.stdout + told.stderr
        assert "Traceback" not in told.stderr
        # Generous for a busy machine, and far below any time-out of the client.
        assert time.monotonic() - begun < 5
    assert file.read_text() == before
    node.start()
    cluster.wait_quorate()
    assert "token: 310" not in node.text()
