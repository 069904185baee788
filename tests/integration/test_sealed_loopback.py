"""Sealed rings of real daemons on this machine's loopback: they form, survive, and keep strangers out."""

import os
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
    [("udp", {"secauth": "on"}), ("udpu", {"crypto_cipher": "chacha20"}), ("udpu", {"crypto_cipher": "aes128"})],
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


def test_a_wrong_key_sees_no_ring_and_says_so_in_one_line(make_loopback_lab: LabMaker, tmp_path: Path) -> None:
    common = settings(tmp_path / "key")
    lab = make_loopback_lab("TTT", common)
    alone = lab.node(3)
    write_key(tmp_path / "other")
    lab.configure(alone, replace(lab.settings, totem={**common.totem, "keyfile": str(tmp_path / "other")}))
    lab.start(lab.nodes[:2])
    before = lab.wait_formed(lab.nodes[:2])
    lab.start([alone])
    assert lab.wait_formed([alone]).members == (3,)
    assert wait_until(lambda: "no ring here" in alone.log_text(), 15)
    (line,) = [line for line in alone.log_text().splitlines() if " SEAL" in line or "no ring here" in line]
    assert "under a key that this node does not have" in line
    assert str(tmp_path / "other") in line
    assert sealing(alone)["unknown key"] > 0
    assert lab.wait_formed(lab.nodes[:2]) == before


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


def test_open_and_sealed_nodes_tell_what_separates_them(make_loopback_lab: LabMaker, tmp_path: Path) -> None:
    common = settings(tmp_path / "key")
    lab = make_loopback_lab("TT", common)
    is_open, is_sealed = lab.nodes
    lab.configure(is_open, replace(lab.settings, totem={}))
    lab.start()
    assert wait_until(lambda: "datagrams that are not sealed" in is_sealed.log_text(), 15)
    assert "sealed, but the ring is open here" in is_open.log_text()
    for node in lab.nodes:
        assert lab.wait_formed([node]).members == (node.nodeid,)
