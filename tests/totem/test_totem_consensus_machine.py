"""Agreement in GATHER against sets, as [MEM-7], [MEM-8], [MEM-20] and [MEM-21] of the specification have it."""

from math import inf

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from totemd.config.model import TotemParameters
from totemd.ids import NodeId
from totemd.totem import gather
from totemd.totem.api import ConfigurationChanged
from totemd.totem.core import Core, State
from totemd.totem.effects import Broadcast, RingEffect, Unicast
from totemd.wire.packets import LEAVE_SENDER, CommitToken, Join, decode_packet

NODES = range(1, 7)
PARAMETERS = TotemParameters(
    token_timeout_s=1.0, token_retransmit_timeout_s=0.238, token_hold_timeout_s=0.18, consensus_timeout_s=1.2
)

nodes = st.sampled_from(NODES)
some_nodes = st.sets(nodes)


class _Nobody:
    def packet_delivered(self, sender: NodeId, payload: bytes) -> None: ...
    def configuration_changed(self, change: ConfigurationChanged) -> None: ...
    def token_received(self) -> None: ...
    def token_sent(self) -> None: ...
    def waits_for_token(self) -> bool:
        return True

    def switch_reassembly(self) -> None: ...


class ConsensusMachine(RuleBasedStateMachine):
    """One node that hears joins and leaves of all kinds, and never of its own but those that it sent."""

    @initialize(me=nodes, members=some_nodes)
    def begin(self, me: NodeId, members: set[NodeId]) -> None:
        self.me = me
        self.memb = members | {me}
        self.effects: list[RingEffect] = []
        self.core = Core(me, PARAMETERS, 0, _Nobody(), lambda: 0.5, self.note)
        self.core.memb = tuple(sorted(self.memb))
        self.proc = {me}
        self.failed: set[NodeId] = set()
        self.consensus = {me}
        self.highest_seq = self.core.ring.seq
        gather.enter_gather(self.core, "test")
        self.expect_join()

    def note(self, effect: RingEffect) -> None:
        if isinstance(effect, Broadcast | Unicast):
            self.effects.append(effect)

    # What must have been sent

    def expect_join(self) -> None:
        if self.core.state is State.GATHER and self.core.join_deadline <= self.core.now:
            # As the ring does when it has handled what it has read.
            gather.send_join(self.core)
        sent = [effect for effect in self.effects if isinstance(effect, Broadcast)]
        assert len(sent) == 1
        join = decode_packet(sent[0].data)
        assert isinstance(join, Join)
        assert (set(join.proc_list), set(join.failed_list)) == (self.proc, self.failed)
        assert join.system_from == self.me
        assert list(self.core.loopback) == [sent[0].data]
        self.effects.clear()
        self.core.loopback.clear()

    def expect_silence(self) -> None:
        assert self.effects == []

    def hear(self, sender: NodeId, proc: set[NodeId], failed: set[NodeId], *, leave: bool, seq: int) -> None:
        """The model's four cases, then the real thing."""
        join = Join(LEAVE_SENDER if leave else sender, sender, seq, tuple(sorted(proc)), tuple(sorted(failed)))
        self.highest_seq = max(self.highest_seq, seq)
        nothing_new = proc <= self.proc and failed <= self.failed
        before = set(self.proc), set(self.failed)
        gone = leave and sender in self.proc
        if sender not in self.failed and (gone or not nothing_new):
            if gone:
                self.failed.add(sender)
            self.proc |= proc
            if self.me in failed:
                self.failed |= {sender} - {self.me}
            elif sender in self.memb:
                self.failed |= (failed & self.proc) - {self.me}
        changed = before != (self.proc, self.failed)
        if changed:
            self.consensus = {self.me}
        agrees = not leave and (proc, failed) == (self.proc, self.failed)
        if agrees:
            self.consensus.add(sender)
        gather.handle_join(self.core, join)
        if changed:
            self.take_join_before_proposal()
        if agrees and self.candidates <= self.consensus and min(self.candidates) == self.me:
            self.expect_proposal()
        else:
            self.expect_silence()

    def take_join_before_proposal(self) -> None:
        later = [effect for effect in self.effects if not isinstance(effect, Broadcast)]
        first = [effect for effect in self.effects if isinstance(effect, Broadcast)]
        rest = list(self.core.loopback)[1:]
        self.effects[:] = first
        while len(self.core.loopback) > 1:
            self.core.loopback.pop()
        self.expect_join()
        self.effects[:] = later
        self.core.loopback.extend(rest)

    def expect_proposal(self) -> None:
        """The representative has proposed; then the attempt fails."""
        assert self.core.state is State.COMMIT
        data = [effect.data for effect in self.effects if isinstance(effect, Unicast)] + list(self.core.loopback)
        assert len(data) == 1
        token = decode_packet(data[0])
        assert isinstance(token, CommitToken)
        assert set(token.members) == self.candidates
        assert token.ring.rep == self.me
        assert token.ring.seq == self.highest_seq + 4
        self.highest_seq = token.ring.seq
        self.effects.clear()
        self.core.loopback.clear()
        gather.enter_gather(self.core, "the attempt failed")
        self.consensus = {self.me}
        self.expect_join()

    @property
    def candidates(self) -> set[NodeId]:
        return self.proc - self.failed

    # What happens

    @rule(sender=nodes, proc=some_nodes, failed=some_nodes, seq=st.integers(0, 40))
    def any_join(self, sender: NodeId, proc: set[NodeId], failed: set[NodeId], seq: int) -> None:
        if sender != self.me:
            self.hear(sender, proc | {sender}, failed, leave=False, seq=seq)

    @rule(sender=nodes, extra=some_nodes)
    def join_with_our_sets(self, sender: NodeId, extra: set[NodeId]) -> None:
        if sender != self.me:
            self.hear(sender, self.proc | extra | {sender}, set(self.failed), leave=False, seq=0)

    @rule(sender=nodes)
    def agreement(self, sender: NodeId) -> None:
        if sender in self.proc:
            self.hear(sender, set(self.proc), set(self.failed), leave=False, seq=0)

    @rule(sender=nodes, proc=some_nodes)
    def any_leave(self, sender: NodeId, proc: set[NodeId]) -> None:
        if sender != self.me:
            self.hear(sender, proc - {sender}, {sender}, leave=True, seq=0)

    @rule(sender=nodes, seq=st.integers(1 << 50, 1 << 63))
    def incredible_number(self, sender: NodeId, seq: int) -> None:
        gather.handle_join(self.core, Join(sender, sender, seq, tuple(NODES), ()))
        self.expect_silence()

    @precondition(lambda self: self.core.consensus_deadline != inf)
    @rule()
    def consensus_timer(self) -> None:
        gather.consensus_expired(self.core)
        if self.candidates <= self.consensus:
            self.consensus = {self.me}
            assert self.core.token_deadline == self.core.now + PARAMETERS.token_timeout_s
        else:
            self.failed |= self.proc - self.consensus
            self.consensus = {self.me}
            self.expect_join()

    @invariant()
    def same_sets(self) -> None:
        if hasattr(self, "core"):
            assert set(self.core.proc) == self.proc
            assert set(self.core.failed) == self.failed
            assert self.core.consensus == self.consensus
            assert self.core.token_ring_seq == self.highest_seq
            assert self.core.state is State.GATHER

    @invariant()
    def never_without_candidates(self) -> None:
        if hasattr(self, "core"):
            assert self.me in self.candidates


TestConsensus = ConsensusMachine.TestCase
