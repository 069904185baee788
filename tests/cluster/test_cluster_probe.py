"""Probes: every way between joiner and members is proven or named; what is forged, replayed elsewhere or flooded costs
nothing and is answered by nobody."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from totemd.cluster.probe import (
    ANSWER,
    ANSWERS_PER_S,
    ASK_ALONE,
    ASK_ECHO,
    ASK_GROUP,
    PROBE_SIZE_MIN,
    Probe,
    ProbeOrder,
    Prober,
    Responder,
    parse_probe,
    probe_key,
    targets,
)

CLUSTER = b"c" * 16
SECRET = b"s" * 32
OWN = "192.0.2.9"
NODES = ((1, "hake", "192.0.2.1"), (2, None, "192.0.2.2"), (3, "tope", "192.0.2.3"))


def order(group: str | None = "239.192.1.1", probe_id: bytes = b"p" * 16) -> ProbeOrder:
    return ProbeOrder(probe_id, probe_key(SECRET, CLUSTER, probe_id), 5405, group, 1, 1452, targets(NODES))


def responders(secret: bytes = SECRET, cluster: bytes = CLUSTER) -> dict[str, Responder]:
    return {address: Responder(nodeid, cluster, lambda: [b"o" * 32, secret]) for nodeid, _, address in NODES}


def deliver(prober: Prober, members: dict[str, Responder], lost: set[tuple[str, str]]) -> None:
    """One round. `lost` has (from, to) of what does not arrive; "group" is the multicast address."""
    for target, data in prober.due():
        reached = list(members) if target is None else [target]
        for address in reached:
            if (OWN, target or "group") in lost or ((OWN, address) in lost and target is not None):
                continue
            answer = members[address].answer(data, 0.0)
            if answer is None:
                continue
            where, reply = answer
            assert len(reply) == len(data), "no amplification"
            if (address, where or "group") not in lost:
                prober.receive(reply)


def test_all_ways_are_proven_in_one_round() -> None:
    prober = Prober(order(), OWN)
    assert not prober.complete
    deliver(prober, responders(), set())
    assert prober.complete
    assert prober.problems() == []
    assert prober.due() == []


def test_without_multicast_only_the_direct_ways_count() -> None:
    prober = Prober(order(group=None), OWN)
    assert all(target is not None for target, _ in prober.due())
    deliver(prober, responders(), set())
    assert prober.complete


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ({(OWN, "192.0.2.2")}, None),
        ({(OWN, "group")}, "multicasts from 192.0.2.9 to 239.192.1.1 port 5405 do not reach"),
        ({("192.0.2.2", "group")}, "multicasts from 2 (192.0.2.2) to 239.192.1.1 port 5405 do not reach 192.0.2.9"),
        ({(OWN, "group"), ("192.0.2.2", "group")}, "pass neither way between 2 (192.0.2.2) and 192.0.2.9"),
        (
            {(OWN, "192.0.2.2"), ("192.0.2.2", OWN), ("192.0.2.2", "group")},
            "2 (192.0.2.2) and 192.0.2.9 do not reach each other by UDP",
        ),
    ],
)
def test_what_is_missing_is_named(lost: set[tuple[str, str]], told: str | None) -> None:
    prober = Prober(order(), OWN)
    for _ in range(3):
        deliver(prober, responders(), lost)
    assert not prober.complete
    problems = prober.problems()
    if told is not None:
        assert any(told in problem for problem in problems)
    assert any("192.0.2.2" in problem for problem in problems)


def test_what_was_lost_once_is_asked_again() -> None:
    prober = Prober(order(), OWN)
    deliver(prober, responders(), {(OWN, "group"), (OWN, "192.0.2.1")})
    assert not prober.complete
    deliver(prober, responders(), set())
    assert prober.complete


@pytest.mark.parametrize(
    "members", [responders(secret=b"x" * 32), responders(cluster=b"d" * 16)], ids=["other key", "other cluster"]
)
def test_strangers_are_answered_by_nobody(members: dict[str, Responder]) -> None:
    prober = Prober(order(), OWN)
    deliver(prober, members, set())
    assert len(prober.problems()) == len(NODES)


def test_answers_go_to_the_joiner_alone() -> None:
    """Not to where a datagram came from: nobody can have answers sent to somebody else's address."""
    key = order().key
    responder = responders()["192.0.2.1"]
    assert responder.answer(Probe(ASK_ALONE, 0, b"p" * 16, 1, OWN).to_bytes(key, 100), 0.0) is not None
    answered = responder.answer(Probe(ASK_GROUP, 0, b"p" * 16, 0, OWN).to_bytes(key, 100), 0.0)
    assert answered is not None
    assert answered[0] == OWN
    answered = responder.answer(Probe(ASK_ECHO, 0, b"p" * 16, 1, OWN).to_bytes(key, 100), 0.0)
    assert answered is not None
    assert answered[0] is None
    # What is for another member, or is an answer itself, is not answered: no two members can be set on each other.
    assert responder.answer(Probe(ASK_ALONE, 0, b"p" * 16, 2, OWN).to_bytes(key, 100), 0.0) is None
    assert responder.answer(Probe(ANSWER, ASK_ALONE, b"p" * 16, 1, OWN).to_bytes(key, 100), 0.0) is None


def test_answers_to_another_probe_or_address_prove_nothing() -> None:
    other = b"q" * 16
    for probe_id, address in ((other, OWN), (b"p" * 16, "192.0.2.8")):
        prober = Prober(order(), OWN)
        answer = Probe(ANSWER, ASK_ALONE, probe_id, 1, address)
        prober.receive(answer.to_bytes(probe_key(SECRET, CLUSTER, probe_id), 100))
        assert len(prober.problems()) == len(NODES)
        assert len(prober.due()) == 2 * len(NODES) + 1


def test_every_flipped_bit_is_noticed() -> None:
    data = Probe(ASK_ALONE, 0, b"p" * 16, 1, OWN).to_bytes(order().key, PROBE_SIZE_MIN)
    responder = Responder(1, CLUSTER, lambda: [SECRET])
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert responder.answer(bytes(changed), float(bit)) is None
    for size in range(len(data)):
        assert responder.answer(data[:size], 1e4 + size) is None
    assert responder.answer(data, 1e6) is not None


@given(st.binary(max_size=200).map(lambda tail: b"TPRB" + tail) | st.binary(max_size=200))
@settings(max_examples=60)
def test_anything_else_is_no_probe(data: bytes) -> None:
    assert parse_probe(data, lambda probe_id: [order().key]) is None


def test_a_flood_is_looked_at_for_a_moment_only() -> None:
    looked: list[int] = []

    def secrets() -> Iterator[bytes]:
        looked.append(1)
        return iter([SECRET])

    responder = Responder(1, CLUSTER, secrets)
    forged = Probe(ASK_ALONE, 0, b"p" * 16, 1, OWN).to_bytes(b"k" * 32, 1400)
    for number in range(20_000):
        assert responder.answer(forged, number / 20_000) is None
    assert len(looked) <= 2 * ANSWERS_PER_S + 1
    good = Probe(ASK_ALONE, 0, b"p" * 16, 1, OWN).to_bytes(order().key, 1400)
    assert responder.answer(good, 2.0) is not None


def test_ipv6() -> None:
    key = order().key
    data = Probe(ASK_ALONE, 0, b"p" * 16, 1, "2001:db8::9").to_bytes(key, 100)
    answer = Responder(1, CLUSTER, lambda: [SECRET]).answer(data, 0.0)
    assert answer is not None
    assert answer[0] == "2001:db8::9"
