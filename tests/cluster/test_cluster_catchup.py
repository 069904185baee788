"""A node that was away gets the configuration of the others, whatever the network does, and only from them."""

import random
from contextlib import suppress
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from totemd.cluster.catchup import BURST_PIECES, NOTHING, PIECE, PIECE_SIZE, CatchUp
from totemd.cluster.handover import PARCEL_SIZE_MAX, Handover, unwrap, wrap
from totemd.cluster.identity import Identity, new_identity
from totemd.errors import BadPacket

CLUSTER = bytes(range(16))
HANDED = Handover(b"the record " * 50, b"the keys")


class Party:
    """One node of a net without sockets."""

    def __init__(self, net: "Net", nodeid: int, version: int, identity: Identity | None) -> None:
        self.net = net
        self.nodeid = nodeid
        self.version = version
        self.identity = identity
        self.known: dict[int, bytes] = {}
        self.handed: Handover | None = HANDED
        self.enforces = True
        self.taken: list[tuple[int, Handover]] = []
        self.logged: list[str] = []
        self.machine = CatchUp(
            self, cluster_id=CLUSTER, nodeid=nodeid, identity=identity, random_bytes=net.random.randbytes
        )

    def send(self, nodeid: int, body: bytes) -> None:
        assert len(body) <= 1200
        self.net.send(self.nodeid, nodeid, body)

    def public_key(self, nodeid: int) -> bytes | None:
        return self.known.get(nodeid)

    def handover(self) -> Handover | None:
        return self.handed

    def take(self, nodeid: int, handed: Handover) -> int:
        self.taken.append((nodeid, handed))
        version = self.net.parties[nodeid].version
        if self.enforces:
            self.version = version
        return version

    def log(self, level: str, text: str) -> None:
        self.logged.append(text)


class Net:
    """Delivers, loses, doubles and mixes up."""

    def __init__(self, seed: int = 0, loss: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.now = 100.0
        self.parties: dict[int, Party] = {}
        self.sent = 0
        self._flying: list[tuple[int, int, bytes]] = []

    def add(self, nodeid: int, version: int, *, keys: bool = True) -> Party:
        identity = new_identity(self.random.randbytes) if keys else None
        self.parties[nodeid] = Party(self, nodeid, version, identity)
        return self.parties[nodeid]

    def introduce(self) -> None:
        """Everybody's configuration lists everybody."""
        for party in self.parties.values():
            party.known = {n: p.identity.public_key for n, p in self.parties.items() if p.identity is not None}

    def send(self, source: int, target: int, body: bytes) -> None:
        self.sent += 1
        for _ in range(2 if self.random.random() < self.loss / 4 else 1):
            if self.random.random() >= self.loss:
                self._flying.append((source, target, body))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            while self._flying:
                place = self.random.randrange(len(self._flying)) if self.loss else 0
                source, target, body = self._flying.pop(place)
                if target in self.parties:
                    self.parties[target].machine.hear(source, body, self.now)
            due = min((party.machine.next_deadline() for party in self.parties.values()), default=inf)
            if due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            for party in self.parties.values():
                party.machine.handle_timer(self.now)


def pair(net: Net) -> tuple[Party, Party]:
    stale, member = net.add(1, 5), net.add(2, 8)
    net.introduce()
    return stale, member


def test_a_stale_node_takes_what_the_member_hands_over() -> None:
    net = Net()
    stale, member = pair(net)
    stale.machine.behind(2, 8, net.now)
    net.run(1)
    assert stale.taken == [(2, HANDED)]
    assert member.taken == []
    assert stale.machine.next_deadline() < inf
    net.run(5)
    assert stale.machine.next_deadline() == inf, "nothing is left to do"
    assert len(stale.taken) == 1


@given(st.integers(0, 2**32), st.sampled_from((0.0, 0.2, 0.5)), st.integers(1, 60_000))
@settings(max_examples=25)
def test_it_arrives_over_any_network_that_lets_something_through(seed: int, loss: float, size: int) -> None:
    net = Net(seed, loss)
    stale, member = pair(net)
    member.handed = Handover(net.random.randbytes(size), None)
    stale.machine.behind(2, 8, net.now)
    net.run(600)
    assert stale.taken == [(2, member.handed)]


def test_much_more_than_one_box_arrives() -> None:
    net = Net()
    stale, member = pair(net)
    member.handed = Handover(net.random.randbytes(300_000), b"keys")
    stale.machine.behind(2, 8, net.now)
    net.run(60)
    assert stale.taken == [(2, member.handed)]


def test_who_is_silent_is_not_asked_for_ever() -> None:
    net = Net()
    stale, _ = pair(net)
    net.add(3, 9)
    net.introduce()
    silent = net.parties.pop(3)
    stale.machine.behind(3, 9, net.now)
    stale.machine.behind(2, 8, net.now)
    net.run(20)
    assert stale.taken[0][0] == 2
    net.parties[3] = silent
    net.run(20)
    assert [nodeid for nodeid, _ in stale.taken] == [2, 3], "and it is asked again when it has still newer things"


def test_who_has_nothing_newer_says_so() -> None:
    net = Net()
    stale, member = pair(net)
    member.version = 4
    stale.machine.behind(2, 8, net.now)
    net.run(60)
    assert stale.taken == []
    assert net.sent == 2
    assert stale.machine.next_deadline() == inf


def test_who_was_refused_with_the_newest_version_lacks_its_keys_and_is_handed_them_once() -> None:
    net = Net()
    stale, member = pair(net)
    member.version = stale.version
    stale.machine.behind(2, stale.version + 1, net.now)
    net.run(60)
    assert stale.taken == [(2, HANDED)]
    assert stale.machine.next_deadline() == inf


def test_what_is_not_in_force_after_a_while_is_asked_for_again() -> None:
    net = Net()
    stale, _ = pair(net)
    stale.enforces = False
    stale.machine.behind(2, 8, net.now)
    net.run(5)
    assert len(stale.taken) > 1
    stale.enforces = True
    net.run(10)
    assert stale.version == 8
    assert stale.machine.next_deadline() == inf


def test_a_node_that_the_own_configuration_does_not_know_is_not_believed() -> None:
    net = Net()
    stale, _ = pair(net)
    del stale.known[2]
    stale.machine.behind(2, 8, net.now)
    net.run(30)
    assert stale.taken == []
    assert net.sent == 0


def test_a_node_that_is_not_listed_is_told_nothing() -> None:
    """Not even in the open: it may have an old key of the ring, and no more."""
    net = Net()
    stale, member = pair(net)
    stale.machine.behind(2, 8, net.now)
    del member.known[1]
    net.run(3)
    assert stale.taken == []


def test_the_key_of_the_ring_alone_makes_nobody_a_member() -> None:
    """Somebody with the cluster's key, but not with node 2's own, answers in its name."""
    net = Net()
    stale, _ = pair(net)
    forger = net.add(2, 8)
    forger.known[1] = net.parties[1].identity.public_key  # type: ignore[union-attr]
    stale.machine.behind(2, 8, net.now)
    net.run(3)
    assert stale.taken == []
    assert any("cannot be used" in line for line in stale.logged)


def test_an_answer_to_an_old_question_is_no_answer() -> None:
    net = Net()
    stale, _ = pair(net)
    recorded: list[tuple[int, int, bytes]] = []
    send = net.send
    net.send = lambda *sent: (recorded.append(sent), send(*sent))[1]  # type: ignore[func-returns-value,method-assign]
    stale.machine.behind(2, 8, net.now)
    net.run(1)
    net.send = send  # type: ignore[method-assign]
    stale.version, stale.taken = 5, []
    del net.parties[2]
    stale.machine.behind(2, 9, net.now)
    net.run(5)
    for source, target, body in recorded:
        if target == 1:
            stale.machine.hear(source, body, net.now)
    assert stale.taken == []


def test_without_own_keys_the_seal_must_do_and_no_ring_keys_travel() -> None:
    net = Net()
    stale, member = net.add(1, 5, keys=False), net.add(2, 8, keys=False)
    stale.machine.behind(2, 8, net.now)
    net.run(1)
    assert stale.taken == [(2, Handover(HANDED.record, None))]
    assert member.logged == []


@pytest.mark.parametrize("who", ["asker", "owner"])
def test_with_own_keys_an_open_parcel_is_refused(who: str) -> None:
    one, two = new_identity(random.Random(1).randbytes), new_identity(random.Random(2).randbytes)
    make = random.Random(3).randbytes
    if who == "asker":
        with pytest.raises(BadPacket, match="not sealed"):
            unwrap(wrap(HANDED, None, None, b"c", make), one, two.public_key, b"c")
    else:
        with pytest.raises(BadPacket, match="no key"):
            unwrap(wrap(HANDED, two, one.public_key, b"c", make), None, None, b"c")


@given(st.data())
@settings(max_examples=30)
def test_a_parcel_that_was_changed_does_not_open(data: st.DataObject) -> None:
    one, two = new_identity(random.Random(1).randbytes), new_identity(random.Random(2).randbytes)
    parcel = wrap(
        Handover(random.Random(4).randbytes(70_000), None), two, one.public_key, b"c", random.Random(3).randbytes
    )
    place = data.draw(st.integers(0, len(parcel) - 1))
    kind = data.draw(st.sampled_from(("flip", "cut", "more", "swap")))
    if kind == "flip":
        parcel = parcel[:place] + bytes((parcel[place] ^ 1 << data.draw(st.integers(0, 7)),)) + parcel[place + 1 :]
    elif kind == "cut":
        parcel = parcel[:place]
    elif kind == "more":
        parcel += data.draw(st.binary(min_size=1, max_size=9))
    else:
        size = int.from_bytes(parcel[1:5], "little")
        parcel = parcel[:1] + parcel[5 + size :] + parcel[1 : 5 + size]
    with pytest.raises(BadPacket):
        unwrap(parcel, one, two.public_key, b"c")


@given(st.binary(max_size=1200))
def test_whatever_is_heard_nothing_breaks(body: bytes) -> None:
    net = Net()
    stale, _ = pair(net)
    stale.machine.behind(2, 8, net.now)
    stale.machine.handle_timer(net.now)
    with suppress(BadPacket):
        stale.machine.hear(2, body, net.now)
    assert stale.taken == []


def test_pieces_of_an_endless_parcel_are_not_kept() -> None:
    net = Net()
    stale, _ = pair(net)
    stale.machine.behind(2, 8, net.now)
    stale.machine.handle_timer(net.now)
    fetch = stale.machine._fetch
    assert fetch is not None
    for total in (0, PARCEL_SIZE_MAX + 1, 2**32 - 1):
        head = bytes((PIECE,)) + fetch.nonce + total.to_bytes(4, "little") + bytes(4)
        stale.machine.hear(2, head + bytes(PIECE_SIZE), net.now)
    assert fetch.first_missing() == 0


def test_a_flood_of_questions_gets_few_answers() -> None:
    net = Net()
    _, member = pair(net)
    member.handed = Handover(net.random.randbytes(60_000), None)
    for number in range(5000):
        nonce = number.to_bytes(16, "little")
        member.machine.hear(1, b"\1" + nonce + (5).to_bytes(8, "little") + bytes(4), net.now)
        net.now += 0.0001
    assert net.sent <= BURST_PIECES + 0.5 * 200


def test_a_no_of_somebody_else_ends_nothing() -> None:
    net = Net()
    stale, _ = pair(net)
    stale.machine.behind(2, 8, net.now)
    stale.machine.handle_timer(net.now)
    fetch = stale.machine._fetch
    assert fetch is not None
    stale.machine.hear(3, bytes((NOTHING,)) + fetch.nonce, net.now)
    stale.machine.hear(2, bytes((NOTHING,)) + bytes(16), net.now)
    assert stale.machine.fetching_from == 2
