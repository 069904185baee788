"""Floods change nothing but counters: no answer, or next to none, no growth, and who belongs here is still heard."""

from collections.abc import Callable, Iterator
from random import Random

import pytest

from sealed_nodes import KEY, Air, SealedNode, pair
from totemd.seal import Credentials, KeyRing, Reason, Verdict, new_key, refused
from totemd.seal.datagram import HEADER_SIZE, PREFIX_SIZE, Header, Kind, encode_header
from totemd.seal.peers import PEERS_MAX

FORGERIES = 10_000


def forgeries(air: Air) -> dict[str, Callable[[int, Random], bytes]]:
    """What somebody without a key can make of what is on the wire."""
    ring = air.sent[-1]

    def header(number: int, random: Random) -> bytes:
        kind = random.choice(list(Kind))
        return encode_header(Header(kind, KEY.ident, 1 + number % 400, random.randbytes(16), number + 1))

    return {
        "noise": lambda number, random: random.randbytes(random.randrange(200)),
        "noise behind a good header": lambda number, random: ring[:HEADER_SIZE] + random.randbytes(80),
        "another counter": lambda number, random: (
            ring[:PREFIX_SIZE] + (number + 9).to_bytes(8, "little") + ring[HEADER_SIZE:]
        ),
        "another session": lambda number, random: header(number, random) + ring[HEADER_SIZE:],
        "another node": lambda number, random: ring[:9] + random.randbytes(4) + ring[13:],
        "replays": lambda number, random: air.sent[number % len(air.sent)],
    }


@pytest.mark.parametrize("which", list(forgeries(pair()[0])))
def test_a_flood_of_forgeries_changes_only_counters(which: str) -> None:
    air, first, second = pair()
    for number in range(20):
        air.say(first, b"%d" % number)
    heard = list(second.heard)
    random = Random(7)
    forge = forgeries(air)[which]
    before = second.dropped
    for number in range(FORGERIES):
        second.receive(forge(number, random), air.now)
        air.now += 1e-5
    assert second.heard == heard
    assert second.dropped == before + FORGERIES
    assert second.take() == []
    assert len(second.seal.counters) < 12
    assert len(second.seal._handshake.peers) == 1
    air.say(first, b"still here")
    assert second.heard == [*heard, (1, b"still here")]


def old_recording(air: Air, sessions: int) -> Iterator[bytes]:
    """What earlier boots of node 1 have said."""
    for number in range(sessions):
        boot = SealedNode(1, Random(1000 + number))
        boot.seal.start(air.now)
        yield from (data for _, data in boot.take())
        yield from (boot.seal.seal(b"old") for _ in range(3))


def test_a_flood_of_old_recordings_costs_a_few_challenges_and_keeps_nobody_out() -> None:
    air, first, second = pair()
    recording = list(old_recording(air, 500))
    sent = len(air.sent)
    for datagram in recording * 2:
        second.receive(datagram, air.now)
        air.now += 0.0005
        air.settle()
    seconds = len(recording) * 2 * 0.0005
    challenges = len(air.sent) - sent
    assert challenges <= 2 * (10 * seconds + 5), "each with its answer"
    assert second.seal.counters["unknown session"] == len(recording) * 2 - 2 * 500, "the rest were hellos"
    air.nodes.remove(first)
    again = air.node(1, start=False)
    for datagram in recording:
        second.receive(datagram, air.now)
        air.wait(0.001)
        air.settle()
    air.say(again, b"I am back")
    for datagram in recording[:400]:
        second.receive(datagram, air.now)
        air.wait(0.001)
        air.settle()
    air.say(again, b"hello")
    assert second.heard[-1] == (1, b"hello")


def keep_out(shown: Credentials) -> Verdict:
    return refused(Reason.REMOVED, "was removed", "join") if shown.nodeid > 2 else Verdict(None)


@pytest.mark.parametrize("key", ["retired", "in use"])
def test_who_has_a_key_can_invent_nodes_but_not_fill_the_memory(key: str) -> None:
    air = Air()
    after = KeyRing(new_key(Random(3).randbytes), (), (KEY,))
    keys = KeyRing(KEY) if key == "in use" else after
    first, second = air.node(1, keys=keys, judge=keep_out), air.node(2, keys=keys, judge=keep_out)
    sent = 0
    for number in range(3 * PEERS_MAX):
        invented = SealedNode(10 + number, air.random)
        second.receive(invented.seal.seal(b"packet"), air.now)
        sent += len(second.take())
        air.now += 0.0001
    assert len(second.seal._handshake.peers) == PEERS_MAX
    assert sent <= (60 if key == "retired" else 800)
    air.say(first, b"hello")
    assert second.heard == [(1, b"hello")]
    assert second.seal.admitted(1)
    assert len(second.logged) < 5
