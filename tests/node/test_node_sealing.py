"""A node behind its seal: sizes, answers to whom, keys, new nodelists, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from small_configuration import small_configuration
from totemd.config.model import CmapEntry, CmapType, Configuration
from totemd.ids import NodeId
from totemd.node import Node
from totemd.node.effects import NodeEffect, SendNow
from totemd.node.sealing import FIRST_LOOK_S, LOOK_S
from totemd.seal.datagram import OVERHEAD_BYTES
from totemd.seal.keys import Key, KeyRing
from totemd.seal.messages import Credentials
from totemd.seal.seal import Seal
from totemd.seal.verdict import Verdict
from totemd.totem.effects import Broadcast, Log, PersistRingSeq, Unicast

KEY = Key.of(b"k" * 32)
OTHER_KEY = Key.of(b"o" * 32)
ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
QUICK = "secauth: on\ntoken: 1000\ntoken_coefficient: 0"


class Sealed:
    """A node, what it sends, and what it logs. Its disk answers at once."""

    def __init__(self, configuration: Configuration, key: Key = KEY, number: int = 0) -> None:
        self.random = Random(f"{configuration.local.nodeid} {number}")
        self.key = key
        self.sent: list[tuple[str | NodeId | None, bytes]] = []
        self.logged: list[str] = []
        self.now = 100.0
        self.node = Node(
            configuration,
            stored_ring_seq=0,
            tracked_expected_votes=None,
            incarnation="a",
            own_uid=0,
            random=self.random.random,
            emit=self.emit,
            now=self.now,
            seal=self.make_seal,
        )
        self.address = configuration.local.address
        assert self.node.sealing is not None
        self.sealing = self.node.sealing

    def make_seal(
        self,
        *,
        cluster_id: bytes,
        nodeid: NodeId,
        credentials: Callable[[], Credentials],
        judge: Callable[[Credentials], Verdict],
        log: Callable[[str, str], None],
    ) -> Seal:
        return Seal(
            keys=KeyRing(self.key),
            suite="aes256",
            cluster_id=cluster_id,
            nodeid=nodeid,
            session=self.random.randbytes(16),
            credentials=credentials,
            judge=judge,
            random_bytes=self.random.randbytes,
            log=log,
        )

    def emit(self, effect: NodeEffect) -> None:
        if isinstance(effect, Broadcast):
            self.sent.append((None, self.sealing.seal_datagram(effect.data)))
        elif isinstance(effect, Unicast):
            self.sent.append((effect.nodeid, self.sealing.seal_datagram(effect.data, effect.nodeid)))
        elif isinstance(effect, SendNow):
            self.sent.append((effect.address, effect.data))
        elif isinstance(effect, Log):
            self.logged.append(f"{effect.level} {effect.text}")
        else:
            assert not isinstance(effect, PersistRingSeq) or effect.seq

    def read(self, data: bytes, source: str) -> None:
        opened = self.sealing.open(data, source, self.now)
        if opened is not None:
            self.node.receive_datagrams([opened], self.now)

    def told(self, word: str) -> list[str]:
        return [line for line in self.logged if word in line]


class Wire:
    """Passes on what nodes send until nobody sends, or until time is up."""

    def __init__(self, *nodes: Sealed) -> None:
        self.nodes = {node.address: node for node in nodes}
        self.by_id = {node.node.nodeid: node for node in nodes}
        self.datagrams: list[tuple[str, str, bytes]] = []

    def run(self, seconds: float, step_s: float = 0.01) -> None:
        for _ in range(round(seconds / step_s)):
            for node in self.nodes.values():
                node.now += step_s
                if node.node.next_deadline() <= node.now:
                    node.node.handle_timer(node.now)
                node.node.use_token(node.now)
            for _ in range(20):
                if not self.pass_on():
                    break

    def pass_on(self) -> int:
        count = 0
        for address, node in self.nodes.items():
            sent, node.sent = node.sent, []
            for target, data in sent:
                targets = [a for a in self.nodes if a != address] if target is None else [target]
                for one in targets:
                    there = self.by_id.get(one) if isinstance(one, int) else self.nodes.get(str(one))
                    if there is not None:
                        count += 1
                        self.datagrams.append((address, there.address, data))
                        there.read(data, address)
        return count


def nodes(count: int = 3) -> list[Sealed]:
    return [Sealed(small_configuration(*ADDRESSES[:count], local=ADDRESSES[n], totem=QUICK)) for n in range(count)]


def started(*members: Sealed) -> Wire:
    wire = Wire(*members)
    for member in members:
        member.node.start(member.now)
    return wire


def members_of(node: Sealed) -> tuple[NodeId, ...]:
    membership = node.node.current_membership()
    assert membership is not None
    return membership.members


def test_sealed_nodes_form_a_ring_whose_datagrams_fit() -> None:
    three = nodes()
    wire = started(*three)
    wire.run(2.0)
    assert [members_of(node) for node in three] == [(1, 2, 3)] * 3
    node = three[0].node
    node.groups.multicast(b"g", b"x" * 100_000)
    wire.datagrams.clear()
    wire.run(0.5)
    sizes = {len(data) for _, _, data in wire.datagrams}
    assert 1400 < max(sizes) <= 1500 - 45
    assert node.ring.payload_size == 1500 - 90 - OVERHEAD_BYTES


def test_who_has_another_key_is_alone_and_says_so_once() -> None:
    three = [*nodes(2), Sealed(small_configuration(*ADDRESSES, local=ADDRESSES[2], totem=QUICK), OTHER_KEY)]
    wire = started(*three)
    wire.run(FIRST_LOOK_S + 1)
    assert members_of(three[2]) == (3,)
    (line,) = three[2].told("no ring here")
    assert "datagrams under a key that this node does not have" in line
    assert members_of(three[0]) == (1, 2)
    (line,) = three[0].told("dropped")
    assert "unknown key" in line
    assert not three[0].told("no ring here")
    wire.run(LOOK_S)
    assert len(three[2].told("no ring here")) == 2


def test_an_unlisted_node_is_answered_where_it_is() -> None:
    """By the others' nodelist there is nothing at its address."""
    two = [Sealed(small_configuration(*ADDRESSES[:2], local=address, totem=QUICK)) for address in ADDRESSES[:2]]
    third = Sealed(small_configuration(*ADDRESSES, local=ADDRESSES[2], totem=QUICK))
    wire = started(*two)
    wire.run(2.0)
    before = [node.node.current_membership() for node in two]
    wire.nodes[third.address] = third
    third.now = two[0].now
    third.node.start(third.now)
    wire.run(3.0)
    assert third.told("refuses this node (unlisted)")
    assert two[0].told("is refused (unlisted)")
    assert [node.node.current_membership() for node in two] == before


def test_who_is_taken_off_the_list_is_not_heard_any_more() -> None:
    three = nodes()
    wire = started(*three)
    wire.run(2.0)
    for node, address in zip(three[:2], ADDRESSES, strict=False):
        assert node.sealing.seal.admitted(3)
        node.node.configuration_read(small_configuration(*ADDRESSES[:2], local=address, totem=QUICK), node.now)
        assert not node.sealing.seal.admitted(3)
    wire.run(4.0)
    assert [members_of(node) for node in three] == [(1, 2), (1, 2), (3,)]
    assert three[2].told("refuses this node (unlisted)")


def test_a_restarted_node_is_back_at_once() -> None:
    three = nodes()
    wire = started(*three)
    wire.run(2.0)
    again = Sealed(three[2].node.configuration, number=1)
    again.now = three[0].now
    wire.nodes[again.address] = wire.by_id[3] = again
    again.node.start(again.now)
    wire.run(4.0)
    assert [members_of(node) for node in (*three[:2], again)] == [(1, 2, 3)] * 3


def test_who_has_taken_its_leave_is_heard_at_once_when_it_starts_again() -> None:
    """Nobody waits for a sign of life of the session that is over."""
    three = nodes()
    wire = started(*three)
    wire.run(2.0)
    three[2].node.shut_down("because")
    wire.run(0.05)
    again = Sealed(three[2].node.configuration, number=1)
    again.now = three[0].now
    wire.nodes[again.address] = wire.by_id[3] = again
    again.node.start(again.now)
    wire.run(0.05)
    assert [len([line for line in node.told("is admitted") if "node 3" in line]) for node in three[:2]] == [2, 2]
    wire.run(1.0)
    assert [members_of(node) for node in (*three[:2], again)] == [(1, 2, 3)] * 3


def test_a_copy_that_comes_first_from_elsewhere_is_as_good_as_the_original() -> None:
    three = nodes(2)
    wire = started(*three)
    wire.run(2.0)
    data = three[0].sealing.seal_datagram(b"anything")
    assert three[1].sealing.open(data, "10.9.9.9", three[1].now) == (b"anything", ADDRESSES[0])
    assert three[1].sealing.open(data, ADDRESSES[0], three[1].now) is None
    assert three[1].sealing.statistics()["replayed"] == 1


def test_strangers_that_ask_are_remembered_within_bounds() -> None:
    node = nodes(1)[0]
    for number in range(200):
        node.sealing.seal.outbox.append((1000 + number, b"answer"))
        node.sealing.open(b"", f"10.1.0.{number}", node.now)
    assert [target for target, _ in node.sent] == [f"10.1.0.{number}" for number in range(200)]
    node.sent.clear()
    for number in (0, 199):
        node.sealing.seal.outbox.append((1000 + number, b"later"))
    node.sealing.start(node.now)
    assert ("10.1.0.199", b"later") in node.sent
    assert ("10.1.0.0", b"later") not in node.sent


def test_what_has_no_seal_is_shown_to_who_wants_to_know() -> None:
    node = nodes(1)[0]
    seen: list[tuple[bytes, str]] = []
    node.sealing.on_stranger = lambda data, source: seen.append((data, source))
    assert node.sealing.open(b"probe me", "10.9.9.9", node.now) is None
    assert seen == [(b"probe me", "10.9.9.9")]


@pytest.mark.parametrize("netmtu", [256, 1500, 9000])
def test_every_netmtu_leaves_room(netmtu: int) -> None:
    node = Sealed(small_configuration("10.0.0.1", totem=f"{QUICK}\nnetmtu: {netmtu}"))
    assert node.node.ring.payload_size == netmtu - 90 - OVERHEAD_BYTES
    assert node.node.netmtu_bytes == netmtu - OVERHEAD_BYTES


def test_room_for_the_seal_is_left_after_a_reload_and_after_a_change_in_the_cmap_too() -> None:
    node = Sealed(small_configuration("10.0.0.1", totem=QUICK))
    sizes = ring_sizes(node)
    node.node.configuration_read(small_configuration("10.0.0.1", totem=f"{QUICK}\njoin: 77"), node.now)
    assert node.node.ring.core.parameters.join_timeout_s == 0.077
    assert ring_sizes(node) == sizes
    node.node.cmap.set("totem.join", CmapEntry(CmapType.U32, 66))
    node.node.handle_timer(node.now)
    assert node.node.ring.core.parameters.join_timeout_s == 0.066
    assert ring_sizes(node) == sizes


def ring_sizes(node: Sealed) -> tuple[int, int, int]:
    core = node.node.ring.core
    return core.payload_size, core.queue_max, node.node.netmtu_bytes


def snapshot(node: Sealed) -> tuple[object, ...]:
    """What a datagram might change besides counters of what is dropped."""
    ring = node.node.ring
    return (
        ring.state,
        ring.ring,
        ring.members,
        ring.stats.as_dict(),
        node.node.next_deadline(),
        len(node.node.sessions),
    )


def kinds_of_datagrams() -> tuple[list[Sealed], dict[str, bytes]]:
    """A ring of two, and what the first has sent to the second, by kind; the latter has seen none of it."""
    two = nodes(2)
    wire = started(*two)
    wire.run(2.0)
    first = two[0]
    first.sent.clear()
    first.sealing.seal.start(first.now)
    first.sealing.send_control(2, b"catch up")
    hello, body = (data for _, data in first.sent[:2])
    seal = first.sealing.seal_datagram
    found = {"hello": hello, "body": body, "token": seal(b"t" * 70, 2), "message": seal(b"m" * 200)}
    first.sent.clear()
    return two, found


def changes_nothing(node: Sealed, data: bytes, source: str) -> None:
    before = snapshot(node)
    assert node.sealing.open(data, source, node.now) is None
    assert snapshot(node) == before
    assert node.sent == []


@pytest.mark.parametrize("kind", ["hello", "body", "token", "message"])
def test_no_flipped_bit_and_no_cut_is_let_in(kind: str) -> None:
    (first, second), datagrams = kinds_of_datagrams()
    data = datagrams[kind]
    second.sent.clear()
    # The timer by which drops are told of begins with the first.
    second.sealing.open(b"", first.address, second.now)
    dropped = sum(second.sealing.statistics().values())
    for bit in range(8 * len(data)):
        flipped = data[: bit // 8] + bytes((data[bit // 8] ^ 1 << bit % 8,)) + data[bit // 8 + 1 :]
        changes_nothing(second, flipped, first.address)
    for size in range(len(data)):
        changes_nothing(second, data[:size], first.address)
    changes_nothing(second, data + b"\0", first.address)
    assert sum(second.sealing.statistics().values()) == dropped + 9 * len(data) + 1
    # And it was none of that which made it invalid.
    opened = second.sealing.open(data, first.address, second.now)
    assert (opened is not None) == (kind in ("token", "message"))


@pytest.mark.parametrize("kind", ["hello", "body", "token", "message"])
def test_no_repetition_and_no_reflection_is_let_in(kind: str) -> None:
    (first, second), datagrams = kinds_of_datagrams()
    data = datagrams[kind]
    second.sealing.open(data, first.address, second.now)
    second.sent.clear()
    first.sealing.open(b"", second.address, first.now)
    for source in (first.address, second.address, "10.0.0.3", "192.0.2.1"):
        changes_nothing(second, data, source)
        changes_nothing(first, data, source)
    assert second.sealing.statistics()["replayed"] == 4
    assert first.sealing.statistics()["own packet"] == 4


@pytest.mark.parametrize("kind", ["body", "token", "message"])
def test_another_cluster_with_the_same_key_is_not_heard(kind: str) -> None:
    (first, _), datagrams = kinds_of_datagrams()
    same = Sealed(small_configuration(*ADDRESSES[:2], local=ADDRESSES[1], totem=QUICK), number=1)
    other = Sealed(replace(same.node.configuration, cluster_name="another"), number=2)
    for node in (same, other):
        node.node.start(node.now)
        node.sent.clear()
        node.sealing.open(b"", first.address, node.now)
    changes_nothing(other, datagrams[kind], first.address)
    assert other.sealing.statistics()["forged or damaged"] == 1
    same.sealing.open(datagrams[kind], first.address, same.now)
    assert len(same.sent) == 1, "a node of the same cluster asks who that is"
