"""The replicated configuration of real daemons on loopback: one cluster, and what happens to its configuration in turn.

Each test begins with three nodes that have one version in force, and leaves them so.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from managed_nodes import ManagedCluster, ManagedNode, wait
from totemd.client.errors import Refused, TotemdClientError
from totemd.client.records import Delivered
from totemd.config.parser import parse
from totemd.seal.keys import KeyRing


@pytest.fixture(scope="module")
def cluster() -> Iterator[ManagedCluster]:
    # Short, because the path of a Unix socket may have 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="totemd-m-") as directory,
        ManagedCluster(Path(directory), token_ms=500) as made,
    ):
        made.start()
        yield made


@pytest.fixture
def nodes(cluster: ManagedCluster) -> Iterator[list[ManagedNode]]:
    yield cluster.nodes
    for node in cluster.nodes:
        if not node.running:
            node.start()
    cluster.wait_quorate()
    cluster.wait_version(version(cluster.nodes[0]))
    assert len({node.text() for node in cluster.nodes}) == 1


def version(node: ManagedNode) -> int:
    with node.client() as client:
        return client.config_show().version


def new_version(cluster: ManagedCluster, node: ManagedNode, before: int) -> int:
    """The version in force by now, on all. Numbers of refused changes are not used again."""
    found = version(node)
    assert found > before
    cluster.wait_version(found)
    return found


def token_changed(text: str) -> str:
    """Another text that is as good."""
    return text.replace("token: 500\n", "token: 5xx\n").replace("token: 510\n", "token: 500\n").replace("5xx", "510")


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_change_made_on_one_node_is_in_force_on_all(
    cluster: ManagedCluster, nodes: list[ManagedNode], tmp_path: Path
) -> None:
    before = version(nodes[0])
    file = write(tmp_path / "new.conf", token_changed(nodes[1].text()))
    assert "token" in nodes[1].ctl("cluster", "config", "diff", file, check=1).stdout
    assert "every node" in nodes[1].ctl("cluster", "config", "apply", file, "--dry-run").stdout.lower()
    assert version(nodes[0]) == before
    told = nodes[1].ctl("cluster", "config", "apply", file, "-m", "another timeout").stdout
    assert f"Version {before + 1} is in force on all members." in told
    cluster.wait_version(before + 1)
    for node in nodes:
        assert parse(node.text(), "f")
        assert f"config_version: {before + 1}\n" in node.text()
        last = node.json("cluster", "config", "history")["entries"][-1]
        assert (last["version"], last["kind"], last["outcome"]) == (before + 1, "edit", "committed")
        assert (last["what"], last["who"]) == ("another timeout", "uid 0 on node 2")
    again = nodes[1].json("cluster", "config", "apply", file, "--force")
    assert not again["changed"]


def test_what_cannot_be_is_refused_with_reasons_and_changes_nothing(nodes: list[ManagedNode], tmp_path: Path) -> None:
    before, text = version(nodes[0]), nodes[0].text()
    lost = text.replace("        nodeid: 2\n", "        nodeid: 2\n        quorum_votes: 5\n")
    refused = nodes[0].ctl("cluster", "config", "apply", write(tmp_path / "lost.conf", lost), check=1)
    assert "refused, and nothing was changed" in refused.stderr
    assert "votes" in refused.stderr
    broken = write(tmp_path / "broken.conf", text.replace("totem {", "totem [", 1))
    assert "broken.conf:1: " in nodes[0].ctl("cluster", "config", "apply", broken, check=1).stderr
    moved = text.replace(nodes[2].address, "127.255.0.9")
    reasons = nodes[0].ctl("cluster", "config", "validate", write(tmp_path / "moved.conf", moved), check=1).stderr
    assert all(f"{node.name}: " in reasons for node in nodes)
    without = write(tmp_path / "without.conf", text.replace("        nodeid: 3\n", "        nodeid: 4\n"))
    assert "totemctl cluster remove" in nodes[0].ctl("cluster", "config", "apply", without, check=1).stderr
    other = write(tmp_path / "other.conf", text.replace("aes256", "chacha20"))
    told = nodes[0].ctl("cluster", "config", "validate", other).stdout
    assert "Only when the daemons are started anew: totem.crypto_cipher." in told
    old = text.replace(f"config_version: {before}\n", f"config_version: {before - 1}\n")
    stale = write(tmp_path / "old.conf", token_changed(old))
    assert "undo what was changed since" in nodes[0].ctl("cluster", "config", "apply", stale, check=1).stderr
    assert version(nodes[0]) == before
    assert nodes[0].text() == text


def test_a_file_edited_by_hand_is_told_of_not_obeyed_and_proposed(
    cluster: ManagedCluster, nodes: list[ManagedNode]
) -> None:
    node, before = nodes[1], version(nodes[1])
    edited = token_changed(node.text())
    node.config.write_text(edited)
    wait(lambda: node.json("cluster", "config", "show")["edited"], "the edit to be seen")
    assert "says something else than version" in node.logged()
    with node.client() as client, pytest.raises(Refused, match="nothing is reloaded"):
        client.reload()
    assert node.ctl("cluster", "config", "diff", check=1).stdout.count("token:") == 2
    node.kill()
    cluster.wait_quorate([nodes[0], nodes[2]])
    node.start()
    cluster.wait_quorate()
    assert version(node) == before, "nor at a start"
    assert node.text() == edited
    node.ctl("cluster", "config", "apply")
    new_version(cluster, node, before)
    assert not node.config.with_name("corosync.conf.edited").exists()


def test_a_broken_file_does_not_keep_a_node_from_starting(cluster: ManagedCluster, nodes: list[ManagedNode]) -> None:
    node, before = nodes[2], version(nodes[2])
    node.stop()
    node.config.write_text("totem {\n    nonsense\n")
    node.start()
    cluster.wait_quorate()
    wait(lambda: node.json("cluster", "config", "show")["edited"], "the edit to be seen")
    shown = node.ctl("cluster", "config", "show")
    assert "config diff shows it" in shown.stderr
    node.config.write_text(shown.stdout)
    wait(lambda: not node.json("cluster", "config", "show")["edited"], "the file to be right again")
    with node.client() as client:
        client.reload()
    assert version(node) == before


def test_edit_and_rollback(cluster: ManagedCluster, nodes: list[ManagedNode], tmp_path: Path) -> None:
    before, text = version(nodes[0]), nodes[0].text()
    editor = f"{sys.executable} -c \"import sys; p = sys.argv[1]; t = open(p).read(); open(p, 'w').write({{}})\""
    change = "t.replace('token: 5', 'join: 40' + chr(10) + '    token: 5')"
    edit = editor.format(change)
    assert "nothing to do" in nodes[0].ctl("cluster", "config", "edit", EDITOR="true", VISUAL="").stdout
    unasked = nodes[0].ctl("cluster", "config", "edit", check=1, VISUAL=edit)
    assert "not applied; what you wrote is kept in" in unasked.stderr
    wrong = nodes[0].ctl("cluster", "config", "edit", "--yes", check=1, VISUAL=editor.format("t + '}'"))
    assert "unexpected }" in wrong.stderr
    assert version(nodes[0]) == before
    told = nodes[0].ctl("cluster", "config", "edit", "--yes", VISUAL=edit).stdout
    assert "+    join: 40" in told
    edited = new_version(cluster, nodes[0], before)
    nodes[2].ctl("cluster", "config", "rollback")
    back = new_version(cluster, nodes[2], edited)
    assert nodes[1].text() == text.replace(f"config_version: {before}\n", f"config_version: {back}\n")
    assert "no version 99999" in nodes[0].ctl("cluster", "config", "rollback", "99999", check=1).stderr
    for copy in Path(tempfile.gettempdir()).glob("totemctl-*/corosync.conf"):
        if (
            f"cluster_name: sea\n    cluster_id: {cluster.cluster_text.partition('cluster_id: ')[2][:32]}"
            in copy.read_text()
        ):
            copy.unlink()
            copy.parent.rmdir()


class Chatter(threading.Thread):
    """A member of a group on one node: says numbers until it is told to stop, and keeps what is delivered."""

    def __init__(self, node: ManagedNode) -> None:
        super().__init__()
        self.node = node
        self.said = 0
        self.stopping = threading.Event()
        self.delivered: list[bytes] = []
        self.failure: TotemdClientError | None = None
        self.joined = threading.Event()

    def run(self) -> None:
        try:
            with self.node.client() as client, client.join(b"chat") as group:
                self.joined.set()
                while not self.stopping.is_set():
                    group.multicast(f"{self.node.nodeid}:{self.said}".encode())
                    self.said += 1
                    time.sleep(0.002)
                group.multicast(f"{self.node.nodeid}:end".encode())
                ended = 0
                while ended < 3:
                    event = group.next_event(10)
                    assert event is not None
                    if isinstance(event, Delivered):
                        self.delivered.append(event.data)
                        ended += event.data.endswith(b":end")
        except TotemdClientError as error:
            self.failure = error
            self.joined.set()


def test_rotating_the_key_loses_no_message(cluster: ManagedCluster, nodes: list[ManagedNode]) -> None:
    before = version(nodes[0])
    old = KeyRing.parse(nodes[0].keyfile.read_bytes()).sending
    chatters = [Chatter(node) for node in nodes]
    for chatter in chatters:
        chatter.start()
        assert chatter.joined.wait(10)
    told = nodes[0].json("cluster", "rotate-key")
    assert (told["accepted"], told["version"], told["confirmed"]) == (True, version(nodes[2]), True)
    assert told["version"] > before
    time.sleep(0.7)
    for chatter in chatters:
        chatter.stopping.set()
    for chatter in chatters:
        chatter.join(30)
        assert chatter.failure is None
    for chatter in chatters:
        for sender in chatters:
            heard = [data for data in chatter.delivered if data.startswith(b"%d:" % sender.node.nodeid)]
            # Who joined later has not heard the others' first words.
            numbers = [*range(sender.said)][-len(heard) + 1 :]
            assert heard == [*(b"%d:%d" % (sender.node.nodeid, n) for n in numbers), b"%d:end" % sender.node.nodeid]
    whole = chatters[0].delivered
    assert all(whole[-len(chatter.delivered) :] == chatter.delivered for chatter in chatters)
    rings = {node.keyfile.read_bytes() for node in nodes}
    assert len(rings) == 1
    keys = KeyRing.parse(rings.pop())
    assert keys.sending != old
    wait(lambda: old in KeyRing.parse(nodes[1].keyfile.read_bytes()).retired, "the old key to be retired")


def test_a_node_that_was_away_catches_up_with_changes_and_keys(
    cluster: ManagedCluster, nodes: list[ManagedNode], tmp_path: Path
) -> None:
    before, away, here = version(nodes[0]), nodes[2], nodes[:2]
    away.kill()
    cluster.wait_quorate(here)
    here[0].ctl("cluster", "config", "apply", write(tmp_path / "new.conf", token_changed(here[0].text())))
    here[1].ctl("cluster", "rotate-key")
    changed, rotated = [entry["version"] for entry in here[0].json("cluster", "config", "history")["entries"][-2:]]
    cluster.wait_version(rotated, here)
    wait(lambda: not KeyRing.parse(here[0].keyfile.read_bytes()).accepted, "the old key to count no more")
    assert f"config_version: {before}\n" in away.text()
    away.start()
    cluster.wait_quorate()
    cluster.wait_version(rotated)
    assert KeyRing.parse(away.keyfile.read_bytes()).sending == KeyRing.parse(here[0].keyfile.read_bytes()).sending
    assert "refuses this node (stale)" in away.logged()
    outcomes = [entry["version"] for entry in away.json("cluster", "config", "history")["entries"]]
    assert outcomes[-2:] == [changed, rotated]
    assert [node.text() for node in here] == [away.text()] * 2


@pytest.mark.parametrize(
    ("step", "who", "proposer"),
    [("stored state", 0, 0), ("stored committed", 2, 0)],
    ids=["proposer prepared", "committed"],
)
def test_a_crash_at_any_step_costs_neither_quorum_nor_the_change(
    cluster: ManagedCluster, nodes: list[ManagedNode], tmp_path: Path, step: str, who: int, proposer: int
) -> None:
    """Every step is tried on files alone in tests/shell/test_shell_configuration_files.py."""
    before, victim = version(nodes[0]), nodes[who]
    others = [node for node in nodes if node is not victim]
    victim.kill()
    cluster.wait_quorate(others)
    victim.start(crash_at=step)
    cluster.wait_quorate()
    file = write(tmp_path / "new.conf", token_changed(others[0].text()))
    nodes[proposer].ctl("cluster", "config", "apply", file, check=None)
    wait(lambda: not victim.running, f"{victim.name} to crash")
    cluster.wait_quorate(others)
    victim.start()
    cluster.wait_quorate()
    if version(others[0]) == before:
        others[0].ctl("cluster", "config", "apply", file)
    new_version(cluster, others[0], before)


def test_without_quorum_a_node_goes_back_by_itself_until_there_is(
    cluster: ManagedCluster, nodes: list[ManagedNode]
) -> None:
    before = version(nodes[0])
    with nodes[0].client() as client:
        outcome = client.config_propose(token_changed(nodes[0].text()), rollback_after_s=1)
    nodes[1].kill()
    nodes[2].kill()
    assert outcome.accepted
    wait(lambda: version(nodes[0]) == before, "it to go back")
    shown = nodes[0].json("cluster", "config", "show")
    assert (shown["committed_version"], shown["confirmed"]) == (outcome.version, False)
    assert nodes[0].json("cluster", "config", "history")["entries"][-1]["outcome"] == "reverted"
    nodes[1].start()
    nodes[2].start()
    cluster.wait_quorate()
    wait(lambda: all(node.json("cluster", "config", "show")["confirmed"] for node in nodes), "one version")
    assert len({version(node) for node in nodes}) == 1
