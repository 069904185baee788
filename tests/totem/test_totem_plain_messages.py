"""Messages that are taken plainly, in runs, do what each does by itself: the same state, the same deliveries."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import totemd.totem.ring
from ring_twins import Recorder, hand_on, state_of, twin_of
from totemd.ids import NodeId, RingId
from totemd.totem.core import Core, State
from totemd.totem.plain_messages import take_in_order
from totemd.totem.ring import Ring
from totemd.wire.packets import Mcast, decode_packet, encode_mcast

Datagrams = list[tuple[bytes, str]]


def ring_of(core: Core) -> Ring:
    """A ring around the core of another one."""
    ring = Ring.__new__(Ring)
    ring._core = core
    return ring


def one_by_one(core: Core, datagrams: Datagrams) -> None:
    """As the gate and the ring do it."""
    ring = ring_of(core)
    for data, source in datagrams:
        packet = decode_packet(data)
        assert isinstance(packet, Mcast)
        if packet.system_from != core.me or int(source) != core.me:
            ring.receive(packet, core.now)


def in_runs(core: Core, datagrams: Datagrams) -> int:
    """As the node does it; gives how many were taken plainly."""
    ring, at, plain = ring_of(core), 0, 0
    while at < len(datagrams):
        taken = ring.receive_plain_messages(datagrams, at, int, core.now)
        if not taken:
            one_by_one(core, datagrams[at : at + 1])
        at += taken or 1
        plain += taken
    return plain


class Comparison:
    """Stands where the ring calls `take_in_order`, and plays each run with the full procedure beside it."""

    def __init__(self) -> None:
        self.taken = self.left = 0

    def __call__(self, core: Core, datagrams: Datagrams, begin: int, node_at: Any) -> int:
        before, _, _ = twin_of(core)
        twin, twin_effects, twin_calls = twin_of(core)
        upper, emit = core.upper, core.emit
        effects: list[Any] = []
        core.upper = recorder = Recorder(upper.waits_for_token())
        core.emit = effects.append
        taken = take_in_order(core, datagrams, begin, node_at)
        core.upper, core.emit = upper, emit
        if not taken:
            assert state_of(core) == state_of(before)
            self.left += 1
        one_by_one(twin, datagrams[begin : begin + taken])
        assert effects == twin_effects
        assert recorder.events == twin_calls.events
        assert state_of(core) == state_of(twin)
        self.taken += taken
        hand_on(effects, recorder, emit, upper)
        return taken


def test_a_message_in_order_is_taken_like_any_other(make_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = Comparison()
    monkeypatch.setattr(totemd.totem.ring, "take_in_order", comparison)
    for seed in range(6):
        random = Random(seed)
        cluster = make_cluster(2 + seed % 3, seed=seed)
        cluster.start()
        assert cluster.run(30.0, cluster.formed)
        cluster.run(0.005)
        cluster.loss = 0.05 * (seed % 2)
        for number in range(60):
            for _ in range(random.choice((1, 1, 1, 5))):
                member = cluster.members[random.randrange(len(cluster.members)) + 1]
                member.send(b"%d" % number, safe=random.random() < 0.1)
            cluster.run(random.uniform(0.0005, 0.004))
    assert comparison.taken > 100
    assert comparison.left > 100


def a_ring_of_three(make_cluster: Any) -> Core:
    cluster = make_cluster(3, seed=4)
    cluster.start()
    assert cluster.run(30.0, cluster.formed)
    cluster.run(0.05)
    core: Core = cluster.members[2].ring.core
    assert core.state is State.OPERATIONAL
    return core


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "sender": st.integers(1, 4),
        "kind": st.integers(0, 3),
        "skip": st.integers(-2, 3),
        "ring": st.sampled_from([-4, 4]),
        "guarantee": st.integers(0, 2),
        "source": st.integers(1, 4),
    },
)


def test_runs_with_anything_in_between(make_cluster: Any) -> None:
    ring_of_three = a_ring_of_three(make_cluster)

    @given(
        changes=st.lists(CHANGES, min_size=1, max_size=30),
        order=st.randoms(use_true_random=False),
        shuffles=st.booleans(),
        away=st.booleans(),
        waits=st.booleans(),
    )
    @settings(max_examples=150, deadline=None)
    def play(changes: list[dict[str, int]], order: Random, shuffles: bool, away: bool, waits: bool) -> None:
        core, _, _ = twin_of(ring_of_three)
        core.direct.loan_out, core.direct.given_seq = away, core.high + 2
        core.direct.holding, core.direct.seq = waits, core.high
        seq, datagrams = core.high, []
        for number, change in enumerate(changes):
            seq = max(0, seq + 1 + change.get("skip", 0))
            sender: NodeId = change.get("sender", 1 + 2 * (number % 2))
            ring = RingId(core.ring.rep, core.ring.seq + change.get("ring", 0))
            guarantee = change.get("guarantee", 0)
            data = encode_mcast(sender, change.get("kind", 2), seq, number, ring, guarantee, b"%d" % number)
            datagrams.append((data, str(change.get("source", sender))))
        if shuffles:
            order.shuffle(datagrams)
        one, one_effects, one_calls = twin_of(core)
        two, two_effects, two_calls = twin_of(core)
        one_by_one(one, datagrams)
        in_runs(two, datagrams)
        assert two_effects == one_effects
        assert two_calls.events == one_calls.events
        assert state_of(two) == state_of(one)

    play()


def test_a_run_is_taken_whole(make_cluster: Any) -> None:
    core = a_ring_of_three(make_cluster)
    datagrams = [
        (encode_mcast(1, 2, core.high + 1 + number, number, core.ring, 0, b"%d" % number), "1") for number in range(50)
    ]
    twin, _, calls = twin_of(core)
    assert in_runs(twin, datagrams) == 50
    assert [arguments[1] for _, arguments in calls.calls] == [b"%d" % number for number in range(50)]


def test_a_window_that_is_full(make_cluster: Any) -> None:
    """A member that sends on and on without a token: the window ends where it does for single messages."""
    core = a_ring_of_three(make_cluster)
    datagrams = [
        (encode_mcast(1, 2, core.high + 1 + number, number, core.ring, 0, b""), "1") for number in range(16_500)
    ]
    one, _, _ = twin_of(core)
    two, _, _ = twin_of(core)
    one_by_one(one, datagrams)
    in_runs(two, datagrams)
    assert len(two.window) == len(one.window) < 16_384
    assert state_of(two) == state_of(one)
