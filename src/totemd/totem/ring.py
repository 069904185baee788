"""The ring: packets, requests and time in, effects and upcalls out (protocol/, "Ordering" to "Recovery").

Driven by `start`, `receive`, `submit`, `handle_timer` and a few requests. Effects are given to `emit`, to be performed
strictly in that order once the input has been handled; then the driver sleeps until `next_deadline()`. `receive` never
raises on account of a packet's content.
"""

from collections.abc import Callable, Sequence
from math import inf

from totemd.config.model import TotemParameters
from totemd.errors import BadPacket
from totemd.ids import NodeId, RingId
from totemd.totem import commit, delivery, direct, gather, recovery
from totemd.totem.api import Upper
from totemd.totem.core import Core, Random, State
from totemd.totem.effects import RingEffect
from totemd.totem.plain import visit_plainly
from totemd.totem.plain_messages import take_in_order
from totemd.totem.stats import RingStats
from totemd.totem.token import handle_token
from totemd.wire.packets import (
    GUARANTEE_SAFE,
    CommitToken,
    HoldCancel,
    Join,
    Mcast,
    MergeDetect,
    OrfToken,
    Packet,
    TokenAsk,
    TokenLoan,
    TokenTaken,
    decode_packet,
    encode_merge_detect,
)

LOOPBACK_STEPS = 4
"""Own packets handled per input; a lone node's token would otherwise keep the caller for its whole idle time."""


class Ring:
    """One node's part in the ring. `stored_ring_seq` is what the last life persisted (0 for a first one)."""

    def __init__(
        self,
        nodeid: NodeId,
        parameters: TotemParameters,
        stored_ring_seq: int,
        upper: Upper,
        random: Random,
        emit: Callable[[RingEffect], bool | None],
    ) -> None:
        self._core = Core(nodeid, parameters, stored_ring_seq, upper, random, emit)

    # What the layers above may know

    @property
    def nodeid(self) -> NodeId:
        """This node."""
        return self._core.me

    @property
    def state(self) -> State:
        """The paper's state."""
        return self._core.state

    @property
    def ring(self) -> RingId:
        """The ring installed or being tried."""
        return self._core.ring

    @property
    def members(self) -> tuple[NodeId, ...]:
        """Members of the last installed ring, ascending; empty before the first."""
        return self._core.memb

    @property
    def stats(self) -> RingStats:
        """Counters."""
        return self._core.stats

    @property
    def core(self) -> Core:
        """All variables, for invariant checks and status; not to be changed."""
        return self._core

    @property
    def payload_size(self) -> int:
        """Largest packet that `submit` takes, bytes."""
        return self._core.payload_size

    @property
    def send_queue_free(self) -> int:
        """Packets that the current queue still takes."""
        core = self._core
        return 0 if core.state is State.LEFT else max(0, core.queue_max - len(core.current_queue()))

    @property
    def has_queued(self) -> bool:
        """Whether packets wait to be sent."""
        return bool(self._core.current_queue())

    # Inputs

    def start(self, now: float) -> None:
        """Begin life: look for others."""
        core = self._core
        core.now = now
        core.look_around_until = now + core.parameters.join_timeout_s
        gather.enter_gather(core, "the daemon started")
        self._run_loopback()

    def receive(self, packet: Packet, now: float) -> None:
        """A packet from another node."""
        self._core.now = now
        self._handle(packet)
        self._run_loopback()

    def receive_plain_messages(
        self, datagrams: Sequence[tuple[bytes, str]], begin: int, node_at: Callable[[str], NodeId | None], now: float
    ) -> int:
        """Datagrams with their sources from `begin` on, as far as they are new messages of members, next in order;
        gives how many. The first that is left has changed nothing. `node_at` gives the node of a source."""
        core = self._core
        core.now = now
        taken = take_in_order(core, datagrams, begin, node_at)
        if core.loopback:
            self._run_loopback()
        return taken

    def receive_plain_token(self, data: bytes, sender: NodeId, now: float) -> bool:
        """A datagram of the member `sender`, if it is a token that needs no more than to be passed on; False, and
        nothing has changed, if it is anything else."""
        core = self._core
        if core.loopback:
            return False
        core.now = now
        if not visit_plainly(core, data, sender):
            return False
        self._run_loopback()
        return True

    def submit(self, payload: bytes, safe: bool, goes_on: bool = False) -> bool:
        """Queue a packet for the total order; False if the queue is full. The layer above has one packet per
        `payload_size` bytes at most. `goes_on`: the next packet continues its message."""
        core = self._core
        queue = core.current_queue()
        if len(queue) >= core.queue_max or core.state is State.LEFT:
            return False
        queue.append((payload, safe, goes_on))
        core.want_token()
        return True

    def restart_unfinished(self, preface: bytes) -> None:
        """Send a message that has been sent in part from its first packet on again, behind the packet `preface`. For
        the change of rings: the new members have not heard the first part."""
        core = self._core
        if core.started:
            core.current_queue().extendleft(reversed([(preface, False, False), *core.started]))
            core.started = []

    def request_token(self) -> None:
        """Something waits for the token's next visit: do not leave it parked."""
        self._core.want_token()

    def use_token(self, now: float) -> None:
        """To be called when a batch of inputs has been handled: the token is used, or asked for, if that is needed. A
        driver that does not call it is given a deadline."""
        core = self._core
        if core.wanted:
            core.now = now
            direct.use_token(core)
            self._run_loopback()

    def synchronized(self) -> None:
        """Synchronization is complete: ordinary packets may flow. What the transitional queue still holds goes first,
        rather than to wait for the next membership change."""
        core = self._core
        core.waiting_trans_ack = False
        if core.transitional_queue:
            core.queue.extendleft(reversed(core.transitional_queue))
            core.transitional_queue.clear()
        if core.queue:
            core.want_token()

    def leave(self, now: float) -> None:
        """Say goodbye; from here on the ring does nothing."""
        core = self._core
        core.now = now
        if core.state is State.LEFT:
            return
        gather.send_leave(core)
        core.change_state(State.LEFT)
        self._stop()

    def abandon(self) -> None:
        """Stop without a word, as a crash would."""
        core = self._core
        if core.state is not State.LEFT:
            core.change_state(State.LEFT)
            self._stop()

    def gather_again(self, cause: str, now: float) -> None:
        """Renew the membership on request (interface up again, operator's wish)."""
        core = self._core
        core.now = now
        if core.state is State.OPERATIONAL:
            gather.enter_gather(core, cause)
            self._run_loopback()

    def effects_performed(self, now: float) -> None:
        """The disk has answered, and nothing waits for it any more."""
        core = self._core
        core.now = now
        core.storing = False
        token, core.withheld_token = core.withheld_token, None
        if token is not None and core.state is not State.LEFT:
            core.loopback.append(token)
            self._run_loopback()

    def set_parameters(self, parameters: TotemParameters) -> None:
        """Take over reloaded timeouts; they count from the next time each timer starts."""
        core = self._core
        core.set_parameters(parameters)
        core.wanted = core.wanted or core.parked or core.direct.holding

    def next_deadline(self) -> float:
        """When `handle_timer` wants to be called; -inf for at once, inf for never."""
        core = self._core
        if core.loopback or core.wanted:
            return -inf
        return min(
            core.retransmit_deadline,
            core.token_deadline,
            core.hold_deadline,
            core.merge_deadline,
            core.join_deadline,
            core.consensus_deadline,
            core.heartbeat_deadline,
            core.direct.ask_deadline,
        )

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`."""
        core = self._core
        core.now = now
        if core.token_deadline <= now or core.heartbeat_deadline <= now:
            self._token_lost()
        if core.consensus_deadline <= now:
            gather.consensus_expired(core)
        if core.join_deadline <= now:
            core.join_deadline = inf
            if core.state is State.GATHER:
                gather.send_join(core)
        if core.hold_deadline <= now:
            direct.rest_ends(core)
        if core.direct.ask_deadline <= now:
            direct.ask_again(core)
        if core.retransmit_deadline <= now:
            core.resend_token()
        if core.merge_deadline <= now:
            self._show_ring()
        if core.wanted:
            direct.use_token(core)
        self._run_loopback()

    # Packets

    def _run_loopback(self) -> None:
        loopback = self._core.loopback
        for _ in range(LOOPBACK_STEPS):
            if not loopback:
                return
            data = loopback.popleft()
            try:
                packet = decode_packet(data)
            except BadPacket as error:
                raise AssertionError(f"this node made a packet that it does not accept: {error}") from error
            self._handle(packet)

    def _handle(self, packet: Packet) -> None:
        core = self._core
        if core.state is State.LEFT:
            return
        if isinstance(packet, OrfToken):
            handle_token(core, packet)
        elif isinstance(packet, Mcast):
            self._mcast(packet)
        elif isinstance(packet, HoldCancel):
            self._hold_cancel(packet)
        elif isinstance(packet, Join):
            gather.handle_join(core, packet)
        elif isinstance(packet, CommitToken):
            self._commit_token(packet)
        elif isinstance(packet, TokenLoan):
            direct.handle_loan(core, packet)
        elif isinstance(packet, TokenAsk):
            direct.handle_ask(core, packet)
        elif isinstance(packet, TokenTaken):
            direct.handle_taken(core, packet)
        else:
            self._merge_detect(packet)

    def _mcast(self, message: Mcast) -> None:
        core = self._core
        core.stats.mcast_rx += 1
        if message.ring != core.ring:
            self._foreign(message.system_from, message.ring, "message")
            return
        if core.state is State.OPERATIONAL or (core.state is State.GATHER and not core.saved):
            if core.window.add(message.seq, message):
                self._new_message(message)
        elif core.state is State.RECOVERY and core.recovery_window.add(message.seq, message):
            core.high = max(core.high, message.seq)
            core.miss_counts.pop(message.seq, None)
            core.aru = core.recovery_window.contiguous_from(core.aru)
            if core.recovery_queue:
                recovery.note_recovered(core, message)

    def _new_message(self, message: Mcast) -> None:
        core = self._core
        core.miss_counts.pop(message.seq, None)
        if message.guarantee == GUARANTEE_SAFE:
            core.direct.safe_high = max(core.direct.safe_high, message.seq)
        if core.ring.rep == core.me:
            core.direct.senders.add(message.system_from)
        if message.seq > core.high:
            core.high = message.seq
            direct.note_message(core, message.system_from, message.seq)
        delivery.advance_aru(core)
        if core.state is not State.OPERATIONAL:
            return
        delivery.deliver(core)
        if core.direct.called and core.aru < core.high and core.state is State.OPERATIONAL:
            direct.note_gap(core)

    def _foreign(self, sender: NodeId, ring: RingId, what: str) -> None:
        """Somebody near is in another ring: gather, so that the two become one."""
        core = self._core
        if core.state not in (State.OPERATIONAL, State.GATHER):
            return
        if sender in core.memb and ring.seq < core.ring.seq:
            # A member of this ring was in that one before: an old packet that is late, not another ring.
            return
        if core.state is State.OPERATIONAL:
            gather.meet(core, sender, f"heard a {what} of node {sender} in ring {ring}")
        elif sender not in core.proc:
            core.proc.setdefault(sender)
            gather.enter_gather(core, f"heard a {what} of node {sender}")

    def _merge_detect(self, packet: MergeDetect) -> None:
        core = self._core
        core.stats.memb_merge_detect_rx += 1
        if packet.ring != core.ring:
            self._foreign(packet.system_from, packet.ring, "merge detect")

    def _hold_cancel(self, packet: HoldCancel) -> None:
        core = self._core
        core.stats.token_hold_cancel_rx += 1
        if packet.ring != core.ring:
            return
        core.seq_unchanged = 0
        direct.request_lap(core)

    def _commit_token(self, token: CommitToken) -> None:
        core = self._core
        core.stats.memb_commit_token_rx += 1
        if core.state is State.GATHER:
            commit.handle_commit_token_in_gather(core, token)
        elif core.state is State.COMMIT:
            if commit.is_complete(core, token):
                recovery.enter_recovery(core, token)
        elif core.state is State.RECOVERY:
            recovery.handle_commit_token_in_recovery(core, token)

    # Timers

    def _show_ring(self) -> None:
        core = self._core
        core.merge_deadline = inf
        if core.state is State.OPERATIONAL and core.is_representative:
            core.stats.memb_merge_detect_tx += 1
            core.broadcast(encode_merge_detect(MergeDetect(core.me, core.me, core.ring)), to_self=False)

    def _token_lost(self) -> None:
        core = self._core
        core.token_deadline = core.heartbeat_deadline = inf
        timeout_ms = round(core.parameters.token_timeout_s * 1000)
        if core.state is State.OPERATIONAL:
            core.stats.operational_token_lost += 1
            core.log("warning", f"the token was lost: not seen for {timeout_ms} ms")
            gather.enter_gather(core, f"the token was lost (not seen for {timeout_ms} ms)")
        elif core.state is State.GATHER:
            core.stats.gather_token_lost += 1
            gather.consensus_expired(core)
            if core.token_deadline != inf:
                core.token_deadline = inf
                gather.enter_gather(core, "the agreed ring was never proposed")
        elif core.state is State.COMMIT:
            core.stats.commit_token_lost += 1
            gather.enter_gather(core, "the token was lost while committing")
        elif core.state is State.RECOVERY:
            core.stats.recovery_token_lost += 1
            gather.restore_old_ring(core)
            gather.enter_gather(core, "the token was lost in recovery")

    def _stop(self) -> None:
        core = self._core
        core.loopback.clear()
        core.withheld_token = core.token_copy = None
        core.wanted = core.parked = False
        core.direct.reset()
        core.retransmit_deadline = core.token_deadline = core.hold_deadline = core.merge_deadline = inf
        core.join_deadline = core.consensus_deadline = core.heartbeat_deadline = inf
