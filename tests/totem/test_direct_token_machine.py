"""Whatever is sent, lost, doubled, late or reconfigured: the token is in one place, so each number is used once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from totemd.ids import NodeId, RingId
from totemd.totem.core import State
from totemd.totem.effects import Broadcast, RingEffect, Unicast
from totemd.wire.packets import Mcast, PacketType, decode_packet

KINDS = (PacketType.TOKEN_ASK, PacketType.TOKEN_LOAN, PacketType.TOKEN_TAKEN, PacketType.MCAST, PacketType.ORF_TOKEN)

nodes = st.integers(0, 3)


class DirectTokenMachine(RuleBasedStateMachine):
    """A ring of up to four nodes. `numbered`: the bytes of each message number of each ring."""

    make_cluster: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.cluster = self.make_cluster(0)
        self.numbered: dict[tuple[RingId, int], bytes] = {}
        self.losses: dict[int, int] = {}
        self.doubles: dict[int, int] = {}
        self.accepted: dict[NodeId, int] = {}
        self.count = 0

    @initialize(count=st.integers(1, 4), seed=st.integers(0, 1 << 16))
    def form(self, count: int, seed: int) -> None:
        self.cluster = self.make_cluster(count, seed=seed)
        self.cluster.drop = self.drop
        effect = self.cluster._effect

        def perform(member: Any, one: RingEffect) -> None:
            self.note(one)
            effect(member, one)
            if isinstance(one, Unicast) and self.doubles.get(one.data[3], 0):
                self.doubles[one.data[3]] -= 1
                effect(member, one)

        self.cluster._effect = perform
        self.cluster.start()
        assert self.cluster.run(30.0, self.cluster.formed)
        self.cluster.run(0.05)

    def drop(self, source: NodeId, target: NodeId, data: bytes) -> bool:
        kind = data[3]
        if not self.losses.get(kind, 0):
            return False
        self.losses[kind] -= 1
        return True

    def note(self, effect: RingEffect) -> None:
        if isinstance(effect, Broadcast):
            packet = decode_packet(effect.data)
            if isinstance(packet, Mcast):
                assert self.numbered.setdefault((packet.ring, packet.seq), packet.raw) == packet.raw

    def member(self, number: int) -> Any:
        return self.cluster.members[number % len(self.cluster.members) + 1]

    @rule(number=nodes, count=st.sampled_from((1, 1, 1, 2, 20)), safe=st.sampled_from((False, False, True)))
    def send(self, number: int, count: int, safe: bool) -> None:
        member = self.member(number)
        for _ in range(count):
            self.count += 1
            member.ring.submit(b"%d" % self.count, safe)
        member.ring.use_token(self.cluster.now)
        self.cluster.perform(member)

    @rule(ms=st.sampled_from((0.05, 0.2, 0.5, 1.0, 4.0, 20.0)))
    def wait(self, ms: float) -> None:
        self.cluster.run(ms / 1000)

    @rule(kind=st.sampled_from(KINDS), count=st.integers(1, 3))
    def lose(self, kind: int, count: int) -> None:
        self.losses[kind] = count

    @rule(kind=st.sampled_from(KINDS), count=st.integers(1, 3))
    def double(self, kind: int, count: int) -> None:
        self.doubles[kind] = count

    @rule(number=nodes, direct=st.booleans())
    def configure(self, number: int, direct: bool) -> None:
        ring = self.member(number).ring
        ring.set_parameters(replace(ring.core.parameters, direct_token=direct))

    @rule(number=nodes)
    def gather(self, number: int) -> None:
        member = self.member(number)
        member.ring.gather_again("asked to", self.cluster.now)
        self.cluster.perform(member)

    @invariant()
    def one_has_the_token(self) -> None:
        holders: dict[RingId, int] = {}
        for member in self.cluster.members.values():
            core = member.ring.core
            if core.state is State.OPERATIONAL and (core.parked or core.direct.holding):
                holders[core.ring] = holders.get(core.ring, 0) + 1
            assert not (core.parked and core.direct.lent)
        assert all(count == 1 for count in holders.values())

    @invariant()
    def one_order(self) -> None:
        logs = [member.messages for member in self.cluster.members.values()]
        for first in logs:
            for second in logs:
                assert first[: len(second)] == second[: len(first)]

    def teardown(self) -> None:
        self.losses.clear()
        if not self.cluster.members:
            return
        assert self.cluster.run(10.0, self.done), f"undelivered: {self.count}"
        self.one_order()

    def done(self) -> bool:
        members = self.cluster.members.values()
        return self.cluster.formed() and all(len(member.messages) == self.count for member in members)


def test_the_token_is_in_one_place(make_cluster: Any) -> None:
    machine = type("Machine", (DirectTokenMachine,), {"make_cluster": make_cluster})
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
