"""Sealed rings of real daemons on this machine's loopback: they form, survive, and keep strangers out."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from totemd_lab import native
from totemd_lab.clients import connect, deliveries, wait_members
from totemd_lab.configuration import RingSettings
from totemd_lab.nodes import Node, TotemdNode
from totemd_lab.ring import LabMaker, wait_until


def settings(key: Path, transport: str = "udpu", **totem: str) -> RingSettings:
    """A sealed ring with short timeouts; its key is new."""
    write_key(key)
    crypto = totem or {"secauth": "on"}
    return RingSettings(
        transport, token_ms=1000, token_coefficient_ms=0, totem={**crypto, "keyfile": str(key)}, mcast_address=None
    )


def write_key(path: Path) -> None:
    path.write_bytes(os.urandom(128))
    path.chmod(0o600)


def sealing(node: Node) -> dict[str, int]:
    """What a node's seal has counted."""
    assert isinstance(node, TotemdNode)
    stats = native.ask(node.socket, "stats", timeout_s=10)
    assert stats is not None
    counters: dict[str, int] = stats["sealing"]
    return counters


@pytest.mark.parametrize(
    ("transport", "totem"),
    [("udp", {"secauth": "on"}), ("udpu", {"crypto_cipher": "chacha20"})],
)
def test_life_of_a_sealed_ring(
    make_loopback_lab: LabMaker, tmp_path: Path, transport: str, totem: dict[str, str]
) -> None:
    lab = make_loopback_lab("TTT", settings(tmp_path / "key", transport, **totem))
    first, second, third = lab.nodes
    lab.start()
    assert lab.wait_formed().quorate
    with connect(first) as one, one.join("g") as here, connect(third) as two, two.join("g") as there:
        wait_members(here, 2)
        there.multicast(b"x" * 100_000)
        assert [len(message.data) for message in deliveries(here, 1, 5.0)] == [100_000]
    assert third.terminate() == 0
    assert lab.wait_formed().quorate
    second.kill()
    assert not lab.wait_formed().quorate
    lab.start([second, third])
    assert lab.wait_formed(timeout_s=10).quorate
    assert "Traceback" not in "".join(node.log_text(whole=True) for node in lab.nodes)


def test_what_separates_nodes_is_said_in_one_line(make_loopback_lab: LabMaker, tmp_path: Path) -> None:
    """One has another key, one has no seal, and the ring of the others is what it was."""
    common = settings(tmp_path / "key")
    lab = make_loopback_lab("TTTT", common)
    ring, other_key, no_seal = lab.nodes[:2], lab.node(3), lab.node(4)
    write_key(tmp_path / "other")
    lab.configure(other_key, replace(lab.settings, totem={**common.totem, "keyfile": str(tmp_path / "other")}))
    lab.configure(no_seal, replace(lab.settings, totem={}))
    lab.start(ring)
    before = lab.wait_formed(ring)
    lab.start([other_key])
    assert lab.wait_formed([other_key]).members == (3,)
    assert wait_until(lambda: "no ring here" in other_key.log_text(), 15)
    (line,) = [line for line in other_key.log_text().splitlines() if "no ring here" in line]
    assert "datagrams under a key that this node does not have" in line
    assert str(tmp_path / "other") in line
    assert sealing(other_key)["unknown key"] > 0
    lab.start([no_seal])
    assert lab.wait_formed([no_seal]).members == (4,)
    assert wait_until(lambda: "sealed, but the ring is open here" in no_seal.log_text(), 10)
    assert wait_until(lambda: sealing(other_key).get("not sealed", 0) > 0, 10)
    assert lab.wait_formed(ring) == before


def test_an_open_ring_says_so_once_and_a_sealed_one_does_not(make_loopback_lab: LabMaker, tmp_path: Path) -> None:
    for chosen, count in ((RingSettings(transport="udpu"), 1), (settings(tmp_path / "key"), 0)):
        lab = make_loopback_lab("T", chosen)
        lab.start()
        lab.wait_formed()
        assert lab.node(1).log_text().count("this ring is open") == count


@pytest.mark.parametrize(
    ("data", "words"),
    [(None, "there is no key file {}; 'totemctl cluster keygen FILE'"), (b"short", "{}: a key has 32 to 4096 bytes")],
)
def test_a_key_that_cannot_be_used(make_loopback_lab: LabMaker, tmp_path: Path, data: bytes | None, words: str) -> None:
    key = tmp_path / "key"
    lab = make_loopback_lab("T", settings(key))
    key.unlink()
    if data is not None:
        key.write_bytes(data)
    lab.start()
    assert lab.node(1).wait_end(10) == 1
    assert words.format(key) in lab.node(1).log_text()


def test_a_key_that_others_can_read_is_warned_of(make_loopback_lab: LabMaker, tmp_path: Path) -> None:
    lab = make_loopback_lab("T", settings(tmp_path / "key"))
    (tmp_path / "key").chmod(0o644)
    lab.start()
    lab.wait_formed()
    assert f"chmod 600 {tmp_path / 'key'}" in lab.node(1).log_text()


REMOVED = "removed {\n node {\n nodeid: 3\n name: n3\n version: 7\n }\n}\n"


@pytest.mark.parametrize(
    ("transport", "more", "word"), [("udpu", "", "unlisted"), ("udp", REMOVED, "removed")], ids=["unlisted", "removed"]
)
def test_who_does_not_belong_is_told_why_and_changes_nothing(
    make_loopback_lab: LabMaker, tmp_path: Path, transport: str, more: str, word: str
) -> None:
    """The others' nodelist lacks the third node, or has a tombstone for it; its own file is the old one."""
    lab = make_loopback_lab("TTT", settings(tmp_path / "key", transport))
    others, stranger = lab.nodes[:2], lab.node(3)
    everybody, lab.members = lab.members, lab.members[:2]
    for node in others:
        lab.configure(node, lab.settings)
        node.conf.write_text(node.conf.read_text() + more)
    lab.members = everybody
    lab.start(others)
    before = lab.wait_formed(others)
    lab.start([stranger])
    assert wait_until(lambda: f"refuses this node ({word})" in stranger.log_text(), 10), stranger.log_text()
    assert lab.wait_formed([stranger]).members == (3,)
    with connect(others[0]) as one, one.join("g") as here, connect(others[1]) as two, two.join("g") as there:
        wait_members(here, 2)
        there.multicast(b"still here")
        assert [message.data for message in deliveries(here, 1, 5.0)] == [b"still here"]
    assert lab.wait_formed(others) == before
    for node in others:
        (line,) = [line for line in node.log_text().splitlines() if "is refused" in line]
        assert f"node 3 (n3) is refused ({word})" in line
        assert sealing(node)[f"refused: {word}"] >= 1


def test_a_node_that_is_taken_out_is_not_heard_any_more(make_loopback_lab: LabMaker, tmp_path: Path) -> None:
    lab = make_loopback_lab("TTT", settings(tmp_path / "key"))
    lab.start()
    lab.wait_formed()
    everybody, lab.members = lab.members, lab.members[:2]
    for node in lab.nodes[:2]:
        lab.configure(node, lab.settings)
        os.kill(node.pid, signal.SIGHUP)
    lab.members = everybody
    assert lab.wait_formed(lab.nodes[:2]).quorate
    assert lab.wait_formed([lab.node(3)]).members == (3,)
    assert wait_until(lambda: "refuses this node (unlisted)" in lab.node(3).log_text(), 10)
