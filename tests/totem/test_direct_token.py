"""The direct token in small rings: who has it, how it gets there, and what makes it rotate."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from totemd.ids import NodeId, RingId
from totemd.totem.direct import PACKETS_MAX, packets_max
from totemd.totem.effects import Broadcast, Unicast
from totemd.totem.resting import QUIET_S
from totemd.wire.packets import (
    HoldCancel,
    Lap,
    Mcast,
    OrfToken,
    Packet,
    TokenAsk,
    TokenLoan,
    TokenTaken,
    decode_packet,
    encode_token_loan,
)

RTT_S = 0.001
"""More than a packet there and back takes in these clusters."""


class Ring3:
    """A formed ring whose token rests with node 1, and all that its nodes send from then on."""

    def __init__(self, make_cluster: Any, nodes: int = 3, off: tuple[NodeId, ...] = ()) -> None:
        self.cluster = make_cluster(nodes, seed=1)
        self.packets: list[tuple[NodeId, NodeId | None, Packet]] = []
        perform = self.cluster._effect

        def record(member: Any, effect: Any) -> None:
            if isinstance(effect, Broadcast | Unicast):
                target = effect.nodeid if isinstance(effect, Unicast) else None
                self.packets.append((member.nodeid, target, decode_packet(effect.data)))
            perform(member, effect)

        self.cluster._effect = record
        self.cluster.start()
        for nodeid in off:
            self.configure(nodeid, direct=False)
        assert self.cluster.run(30.0, self.cluster.formed)
        self.cluster.run(0.1)
        if not off:
            assert self.core(1).parked
        self.packets.clear()

    def core(self, nodeid: NodeId) -> Any:
        return self.cluster.members[nodeid].ring.core

    def configure(self, nodeid: NodeId, *, direct: bool) -> None:
        ring = self.cluster.members[nodeid].ring
        ring.set_parameters(replace(ring.core.parameters, direct_token=direct))

    def send(self, nodeid: NodeId, *payloads: bytes, safe: bool = False) -> None:
        member = self.cluster.members[nodeid]
        for payload in payloads:
            assert member.ring.submit(payload, safe)
        member.ring.use_token(self.cluster.now)
        self.cluster.perform(member)

    def hear(self, nodeid: NodeId, packet: Packet) -> None:
        member = self.cluster.members[nodeid]
        member.ring.receive(packet, self.cluster.now)
        member.ring.use_token(self.cluster.now)
        self.cluster.perform(member)

    def heard(self, nodeid: NodeId) -> list[bytes]:
        return [payload for _, payload in self.cluster.members[nodeid].messages]

    def sent(self, kind: type) -> list[tuple[NodeId, NodeId | None]]:
        return [(source, target) for source, target, packet in self.packets if type(packet) is kind]

    def counts(self) -> Counter[str]:
        return Counter(type(packet).__name__ for _, _, packet in self.packets)

    def lend(self, nodeid: NodeId) -> None:
        """Have the token at `nodeid`, which has sent a message."""
        self.send(nodeid, b"first of %d" % nodeid)
        assert self.cluster.run(RTT_S, lambda: self.core(nodeid).direct.holding)
        self.core(nodeid).direct.lap_due = Lap.NONE  # the network reorders, and a gap would make it rotate
        self.cluster.run(0.0)


@pytest.fixture
def ring(make_cluster: Any) -> Ring3:
    return Ring3(make_cluster)


def test_an_idle_ring_rests(ring: Ring3) -> None:
    ring.cluster.run(0.17)
    # One rotation each hold timeout.
    assert ring.counts()["OrfToken"] <= 3


def test_the_representative_sends_at_once(ring: Ring3) -> None:
    ring.send(1, b"a")
    assert ring.heard(1) == [b"a"]
    assert ring.counts() == {"Mcast": 1}
    ring.cluster.run(RTT_S)
    assert ring.heard(3) == [b"a"]
    assert ring.core(1).parked


def test_after_a_while_a_rotation_shows_that_all_have_it(ring: Ring3) -> None:
    ring.send(1, b"a")
    seq = ring.core(1).direct.seq
    ring.cluster.run(QUIET_S + 5 * RTT_S)
    assert ring.counts()["OrfToken"] >= 3
    assert ring.core(1).parked
    assert ring.core(1).direct.base == seq


def test_who_asks_is_lent_the_token_and_keeps_it(ring: Ring3) -> None:
    ring.send(2, b"a")
    assert ring.sent(TokenAsk) == [(2, 1)]
    ring.cluster.run(RTT_S)
    assert ring.sent(TokenLoan) == [(1, 2)]
    assert ring.heard(2) == [b"a"]
    ring.send(2, b"b", b"c")
    assert ring.heard(2) == [b"a", b"b", b"c"]
    assert ring.counts()["TokenAsk"] == ring.counts()["TokenLoan"] == 1
    assert ring.counts()["OrfToken"] == ring.counts()["HoldCancel"] == 0


def test_the_borrower_hands_it_over_directly(ring: Ring3) -> None:
    ring.lend(2)
    ring.cluster.run(RTT_S)
    ring.packets.clear()
    ring.send(3, b"c")
    ring.cluster.run(RTT_S)
    assert ring.sent(TokenAsk) == [(3, 2)]
    assert ring.sent(TokenLoan)[0] == (2, 3)
    assert ring.heard(3)[-1] == b"c"


def test_a_wrong_addressee_passes_the_ask_on(ring: Ring3) -> None:
    ring.lend(2)
    ring.core(3).direct.holder = 1
    ring.packets.clear()
    ring.send(3, b"c")
    ring.cluster.run(RTT_S)
    assert ring.sent(TokenAsk) == [(3, 1), (1, 2)]
    assert ring.heard(3)[-1] == b"c"


def test_two_who_wait_are_served_by_rotations(ring: Ring3) -> None:
    ring.core(1).wanted = False
    for nodeid in (2, 3):
        ask = TokenAsk(nodeid, ring.core(1).ring, nodeid, ring.core(nodeid).my_token_seq, 0)
        ring.cluster.members[1].ring.receive(ask, ring.cluster.now)
    ring.cluster.members[1].ring.use_token(ring.cluster.now)
    ring.cluster.perform(ring.cluster.members[1])
    assert ring.counts() == {"OrfToken": 1}
    assert not ring.core(1).direct.called


def test_the_token_comes_back_when_nothing_is_sent(ring: Ring3) -> None:
    ring.lend(2)
    ring.cluster.run(QUIET_S + RTT_S)
    assert (2, 1) in ring.sent(TokenLoan)
    assert ring.core(1).stats.token_return_rx == 1


def test_it_waits_with_the_only_sender(ring: Ring3) -> None:
    ring.lend(2)
    ring.cluster.run(QUIET_S + 10 * RTT_S)
    assert ring.core(2).direct.holding
    ring.packets.clear()
    ring.send(2, b"b")
    assert ring.heard(2)[-1] == b"b"
    # Until it sends nothing for long.
    ring.cluster.run(1.0)
    assert ring.core(1).parked
    assert not ring.core(2).direct.holding


def test_so_many_and_the_token_rotates(ring: Ring3) -> None:
    ring.cluster.drop = lambda source, target, data: data[3] == 0
    for number in range(PACKETS_MAX + 50):
        ring.send(1, b"%d" % number)
    assert ring.core(1).stats.mcast_tx == PACKETS_MAX
    assert ring.counts()["OrfToken"] == 1


@pytest.mark.parametrize("sender", [1, 2])
def test_one_with_a_full_queue_keeps_the_token(ring: Ring3, sender: NodeId) -> None:
    ring.send(sender, *(b"%d" % number for number in range(300)))
    ring.cluster.run(0.2)
    assert ring.heard(3) == ring.heard(1) == ring.heard(2)
    assert len(ring.heard(3)) == 300
    assert ring.core(sender).stats.direct_mcast_tx > 250


def test_full_queues_of_two_are_sent_in_turns(ring: Ring3) -> None:
    for number in range(300):
        ring.core(2).queue.append((b"%d" % number, False, False))
        ring.core(3).queue.append((b"%d" % number, False, False))
    ring.send(2, b"a")
    ring.send(3, b"a")
    ring.cluster.run(0.3)
    assert ring.heard(3) == ring.heard(1) == ring.heard(2)
    assert len(ring.heard(3)) == 602


def test_safe_messages_are_delivered_everywhere(ring: Ring3) -> None:
    for nodeid in (1, 2, 3):
        ring.send(nodeid, b"safe %d" % nodeid, safe=True)
        ring.cluster.run(0.02)
        assert [ring.heard(other)[-1] for other in (1, 2, 3)] == [b"safe %d" % nodeid] * 3


def test_counts_of_the_flow_control_come_out_even(ring: Ring3) -> None:
    for number in range(200):
        ring.send(number % 3 + 1, b"%d" % number)
        ring.cluster.run(RTT_S)
    ring.cluster.run(0.5)
    tokens = [packet for _, _, packet in ring.packets if isinstance(packet, OrfToken)]
    assert tokens[-1].fcc == tokens[-1].backlog == 0
    assert ring.core(1).window.released == ring.core(1).high == ring.core(3).window.released


def test_a_lost_loan_is_sent_again(ring: Ring3) -> None:
    lost: list[bytes] = []

    def drop(source: NodeId, target: NodeId, data: bytes) -> bool:
        if data[3] == 65 and not lost:
            lost.append(data)
            return True
        return False

    ring.cluster.drop = drop
    ring.send(2, b"a")
    ring.cluster.run(0.05)
    assert lost
    assert ring.heard(3) == [b"a"]


def test_a_copy_of_a_loan_is_answered(ring: Ring3) -> None:
    ring.lend(2)
    loan = next(packet for _, _, packet in ring.packets if isinstance(packet, TokenLoan))
    ring.packets.clear()
    ring.hear(2, loan)
    assert ring.sent(TokenTaken) == [(2, 1)]
    assert ring.core(2).direct.holding


def test_asks_without_an_answer_end_in_a_hold_cancel(ring: Ring3) -> None:
    ring.cluster.drop = lambda source, target, data: data[3] == 64
    ring.send(2, b"a")
    ring.cluster.run(0.1)
    assert ring.sent(HoldCancel) == [(2, None)]
    assert ring.heard(3) == [b"a"]


def test_a_gap_makes_the_token_rotate(ring: Ring3) -> None:
    ring.cluster.drop = lambda source, target, data: target == 3 and data[3] == 1
    ring.send(1, b"a")
    ring.cluster.drop = lambda source, target, data: False
    ring.send(1, b"b")
    ring.cluster.run(0.02)
    assert ring.sent(HoldCancel) == [(3, None)]
    assert ring.heard(3) == [b"a", b"b"]


def test_one_that_does_not_know_how_makes_the_ring_an_ordinary_one(make_cluster: Any) -> None:
    ring = Ring3(make_cluster, off=(3,))
    for nodeid in (1, 2, 3):
        ring.send(nodeid, b"%d" % nodeid)
        ring.cluster.run(0.05)
    assert ring.heard(1) == [b"1", b"2", b"3"]
    assert ring.counts()["TokenAsk"] == ring.counts()["TokenLoan"] == 0


def test_there_the_representative_still_sends_at_once(make_cluster: Any) -> None:
    ring = Ring3(make_cluster, off=(3,))
    assert ring.cluster.run(1.0, lambda: ring.core(1).parked)
    ring.packets.clear()
    ring.send(1, b"a")
    assert ring.heard(1) == [b"a"]
    assert ring.counts() == {"Mcast": 1, "OrfToken": 1}


@pytest.mark.parametrize("nodeid", [1, 2, 3])
def test_it_can_be_turned_off_and_on_at_run_time(ring: Ring3, nodeid: NodeId) -> None:
    number = 0
    for direct in (False, True):
        ring.configure(nodeid, direct=direct)
        for sender in (2, 1, 3, 3, 2):
            number += 1
            ring.send(sender, b"%d" % number)
            ring.cluster.run(0.02)
        assert ring.heard(1) == ring.heard(2) == ring.heard(3)
        assert len(ring.heard(1)) == number


def test_a_lone_node_sends_without_a_rotation(make_cluster: Any) -> None:
    ring = Ring3(make_cluster, nodes=1)
    laps = ring.core(1).stats.laps
    for number in range(50):
        ring.send(1, b"%d" % number)
    assert len(ring.heard(1)) == 50
    assert ring.core(1).stats.laps == laps
    ring.send(1, b"safe", safe=True)
    ring.cluster.run(0.01)
    assert ring.heard(1)[-1] == b"safe"


def test_what_no_member_would_send_is_ignored(ring: Ring3) -> None:
    core = ring.core(1)
    before = core.my_token_seq, core.direct.seq, core.parked
    sane = TokenLoan(2, core.ring, core.my_token_seq + 5, core.direct.seq, 0, 0, Lap.NONE)
    for packet in (
        sane,  # nothing was lent
        replace(sane, sender=77),
        replace(sane, ring=RingId(9, 9)),
        TokenAsk(77, core.ring, 2, core.my_token_seq, 0),
        TokenAsk(2, core.ring, 77, core.my_token_seq, 0),
        TokenAsk(2, RingId(9, 9), 2, core.my_token_seq, 0),
        TokenAsk(2, core.ring, 1, core.my_token_seq, 0),
        TokenTaken(2, core.ring, 0),
    ):
        ring.hear(1, packet)
    assert (core.my_token_seq, core.direct.seq, core.parked) == before
    assert core.stats.implausible_tokens == 2
    assert not ring.packets
    other = ring.core(3)
    sane = TokenLoan(1, other.ring, other.my_token_seq + 5, other.passed_seq, 0, 0, Lap.NONE)
    for packet in (
        replace(sane, seq=other.window.released + 20_000),
        replace(sane, seq=other.passed_seq, base=other.passed_seq + 1),
        replace(sane, sender=3),
    ):
        ring.hear(3, packet)
    assert not other.direct.holding
    assert other.stats.implausible_tokens == 3


def test_what_follows_a_loan_is_ignored(ring: Ring3) -> None:
    loan = TokenLoan(1, ring.core(1).ring, 1, 2, 2, 3, Lap.ONE)
    data = encode_token_loan(loan)
    assert decode_packet(data + b"xx") == loan


def test_messages_have_one_number_each(ring: Ring3) -> None:
    for number in range(60):
        ring.send(number * 7 % 3 + 1, b"%d" % number)
        ring.cluster.run(0.0002)
    ring.cluster.run(0.3)
    numbers = [packet.seq for _, _, packet in ring.packets if isinstance(packet, Mcast)]
    assert len({(p.seq, p.raw) for _, _, p in ring.packets if isinstance(p, Mcast)}) == len(set(numbers)) == 60
    assert ring.heard(1) == ring.heard(2) == ring.heard(3)


numbers = st.integers(-3, 3) | st.integers(0, 600) | st.sampled_from((1 << 31, (1 << 32) - 1))


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_member_claims_the_ring_goes_on_or_is_made_anew(make_cluster: Any, data: st.DataObject) -> None:
    ring = Ring3(make_cluster)
    for _ in range(data.draw(st.integers(1, 12))):
        target, sender, third = (data.draw(st.integers(1, 3)) for _ in range(3))
        core = ring.core(target)
        token_seq = (core.my_token_seq + data.draw(numbers)) & 0xFFFFFFFF
        seq, base = (max(0, core.passed_seq + data.draw(numbers)) & 0xFFFFFFFF for _ in range(2))
        claims: tuple[Packet, ...] = (
            TokenAsk(sender, core.ring, third, token_seq, data.draw(st.integers(0, 255))),
            TokenLoan(sender, core.ring, token_seq, seq, base, abs(data.draw(numbers)), Lap(third - 1)),
            TokenTaken(sender, core.ring, token_seq),
        )
        if sender != target:
            ring.hear(target, data.draw(st.sampled_from(claims)))
        ring.send(third, b"x")
        ring.cluster.run(data.draw(st.sampled_from((0.0, 0.001, 0.01))))
    # What is sent on a forged token may have a number that is in use: it is lost, as with a forged token that rotates.
    ring.cluster.run(0.05)
    assert ring.cluster.run(30.0, ring.cluster.formed)
    ring.send(3, b"last")
    assert ring.cluster.run(30.0, lambda: all(b"last" in ring.heard(nodeid) for nodeid in (1, 2, 3)))


def test_the_answer_to_what_is_delivered_goes_at_once(ring: Ring3) -> None:
    member = ring.cluster.members[1]

    def answer(sender: NodeId, payload: bytes) -> None:
        type(member).packet_delivered(member, sender, payload)
        if payload == b"question":
            assert member.ring.submit(b"answer", False)

    member.packet_delivered = answer
    ring.send(1, b"question")
    assert ring.core(1).wanted
    assert member.ring.next_deadline() == -inf
    ring.send(1)
    assert ring.heard(1) == [b"question", b"answer"]
    assert ring.counts() == {"Mcast": 2}


def test_a_parked_token_that_cannot_rest_rotates_for_the_representative_too(ring: Ring3) -> None:
    ring.core(1).direct.restable = False
    ring.send(1, b"a")
    assert ring.counts() == {"OrfToken": 1}
    ring.cluster.run(10 * RTT_S)
    assert ring.heard(1) == ring.heard(3) == [b"a"]


def test_who_has_left_asks_no_more(ring: Ring3) -> None:
    ring.cluster.drop = lambda source, target, data: data[3] in (64, 65)
    ring.send(2, b"a")
    ring.cluster.members[2].ring.leave(ring.cluster.now)
    ring.cluster.perform(ring.cluster.members[2])
    ring.packets.clear()
    ring.cluster.run(0.1)
    assert not [packet for source, _, packet in ring.packets if source == 2]


def test_only_who_was_given_the_token_says_that_it_arrived(ring: Ring3) -> None:
    ring.cluster.drop = lambda source, target, data: data[3] == 65
    ring.send(2, b"a")
    assert ring.cluster.run(RTT_S, lambda: ring.core(1).direct.loan_out)
    direct = ring.core(1).direct
    for nodeid, out in ((3, True), (2, False)):
        ring.hear(1, TokenTaken(nodeid, ring.core(1).ring, direct.given_token_seq))
        assert direct.loan_out is out


def test_large_packets_are_fewer_between_rotations(ring: Ring3) -> None:
    core = ring.core(1)
    assert packets_max(core) == PACKETS_MAX
    core.payload_size = 8900
    assert packets_max(core) == 117


def test_who_hears_a_newer_message_does_not_have_the_token(ring: Ring3) -> None:
    core = ring.core(3)
    ring.send(1, b"x")
    ring.hear(3, TokenLoan(1, core.ring, core.my_token_seq + 1, core.passed_seq, core.passed_seq, 0, Lap.NONE))
    assert core.direct.holding
    ring.cluster.run(RTT_S)
    assert not core.direct.holding
    ring.send(3, b"last")
    ring.cluster.run(10 * RTT_S)
    assert ring.heard(1) == ring.heard(2) == ring.heard(3) == [b"x", b"last"]
