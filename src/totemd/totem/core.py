"""The ring's variables and the few primitives that all its states share (protocol/, chapter "Membership").

The state files (gather, commit, recovery, install, token) are functions over one `Core`; `ring.Ring` dispatches to
them. Nothing here reads a clock: `now` is set by `Ring` from its caller at every input.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum
from math import inf
from typing import Final, TypeAlias

from totemd.config.model import TotemParameters
from totemd.ids import NO_RING, NodeId, RingId
from totemd.limits import MCAST_HEADER_SIZE, SEND_QUEUE_BYTES
from totemd.totem.api import Upper
from totemd.totem.direct_state import Direct
from totemd.totem.effects import Broadcast, Log, PersistRingSeq, RingEffect, Unicast
from totemd.totem.stats import RingStats
from totemd.totem.window import Window
from totemd.wire.packets import HoldCancel, Mcast, encode_hold_cancel

Random: TypeAlias = Callable[[], float]
"""A source of numbers in [0, 1); randomness comes from outside like time."""


RING_SEQ_USUAL: Final = 1 << 48
"""No cluster comes this far: four numbers for each membership change."""

RING_SEQ_STRIDE: Final = 1 << 32
"""How far a number beyond that may lie above all that were seen; 2**30 such steps lead to the end of the numbers."""

LOAN_RETRANSMITS: Final = 10
"""How often a lent token is sent again within the token's retransmit timeout."""

Outgoing: TypeAlias = tuple[bytes, bool, bool]
"""A packet to be sent, whether it is SAFE, and whether the next one continues its message."""


class State(Enum):
    """The paper's states, and LEFT: the node has said goodbye and takes no further part."""

    OPERATIONAL = "operational"
    GATHER = "gather"
    COMMIT = "commit"
    RECOVERY = "recovery"
    LEFT = "left"


TRANSITIONS: Final = {
    State.OPERATIONAL: {State.GATHER, State.LEFT},
    State.GATHER: {State.GATHER, State.COMMIT, State.LEFT},
    State.COMMIT: {State.GATHER, State.RECOVERY, State.LEFT},
    State.RECOVERY: {State.GATHER, State.OPERATIONAL, State.LEFT},
    State.LEFT: set[State](),
}


class Core:
    """All state of one node's ring. Groups of attributes follow the specification's list."""

    def __init__(
        self,
        nodeid: NodeId,
        parameters: TotemParameters,
        stored_ring_seq: int,
        upper: Upper,
        random: Random,
        emit: Callable[[RingEffect], bool | None],
    ) -> None:
        self.me = nodeid
        self.upper = upper
        self.random = random
        self.now = 0.0
        self.emit = emit
        # Own joins and hold cancels take part like everybody's; tokens to oneself never touch the network.
        self.loopback: deque[bytes] = deque()
        self.storing = False
        """Whether the ring number is on its way to the disk."""
        self.withheld_token: bytes | None = None
        """What we have sent ourselves meanwhile."""
        self.stats = RingStats()
        self.set_parameters(parameters)

        self.state = State.OPERATIONAL
        # Membership. Sets that travel keep their order of arrival, as dict keys.
        self.proc: dict[NodeId, None] = {}
        self.failed: dict[NodeId, None] = {}
        self.consensus: set[NodeId] = set()
        self.memb: tuple[NodeId, ...] = ()
        self.new_memb: tuple[NodeId, ...] = ()
        self.trans: tuple[NodeId, ...] = ()
        self.deliver_from: frozenset[NodeId] = frozenset()
        self.leavers: set[NodeId] = set()
        self.refused_ring_seq = 0
        """The newest proposal that came to us with too few members."""
        self.settled = True
        """Whether all members are known to have installed the present ring, as the token's next visit shows."""
        self.newcomers: dict[NodeId, str] = {}
        """Whom we heard in other rings before that, with what to say of it."""
        self.look_around_until = 0.0
        """A node that has just begun makes no ring of its own before that: the others may be about to answer."""
        self.cause = "the daemon started"
        # Ring ids. The +1 keeps a restarted node apart from its former self.
        self.ring = RingId(nodeid, stored_ring_seq + 1)
        self.old_ring = NO_RING
        self.token_ring_seq = self.ring.seq
        # Ordering
        self.window = Window()
        self.recovery_window = Window()
        self.aru = 0
        self.high = 0
        self.high_delivered = 0
        self.last_aru = 0
        self.safe_up_to = 0
        self.install_seq = 0
        self.saved = False
        self.old_aru = 0
        self.old_high = 0
        self.old_safe_up_to = 0
        self.miss_counts: dict[int, int] = {}
        self.unserved: dict[int, float] = {}
        """Since when a request for a message that we lack, too, has been in the token at every visit."""
        self.progress_at = 0.0
        """When the token last showed a new message."""
        self.calm_visits = 0
        """Visits in a row at which neither a new message nor a request was in the token."""
        self.this_seqno = 0
        # Sending
        self.queue: deque[Outgoing] = deque()
        self.transitional_queue: deque[Outgoing] = deque()
        self.started: list[Outgoing] = []
        """What has been sent of a message whose last packet still waits in the queue in use."""
        self.recovery_queue: deque[Mcast] = deque()
        self.recovered: set[int] = set()
        """Old messages that have been sent again on the ring that is being tried."""
        self.waiting_trans_ack = True
        self.trc = 0
        self.pbl = 0
        self.cbl = 0
        # The token
        self.discard_tokens = True
        self.my_token_seq = 0xFFFFFFFF
        self.token_copy: tuple[NodeId, bytes] | None = None
        self.held = False
        self.parked = False
        self.token_warned = False
        self.seq_unchanged = 0
        self.last_seq = 0
        """The token's, as it last came."""
        self.passed_seq = 0
        """The token's, as it last went: own messages are in it."""
        self.aru_count = 0
        self.retrans_flg_count = 0
        self.set_retrans_flg = False
        self.rotation_counter = 0
        self.originated = False
        self.received_flg = True
        self.failed_to_receive = False
        self.direct = Direct()
        self.wanted = False
        """Whether something here has asked for the token since it was last looked at."""
        # Timers: deadlines, inf when off
        self.token_deadline = inf
        self.retransmit_deadline = inf
        self.hold_deadline = inf
        self.merge_deadline = inf
        self.join_deadline = inf
        self.consensus_deadline = inf
        self.heartbeat_deadline = inf

    def set_parameters(self, parameters: TotemParameters) -> None:
        """Take (new) timeouts and constants; running timers keep their deadlines."""
        self.parameters = parameters
        self.payload_size = parameters.netmtu_bytes - 2 * MCAST_HEADER_SIZE
        self.queue_max = SEND_QUEUE_BYTES // self.payload_size
        heartbeat = (
            parameters.heartbeat_failures_allowed * parameters.token_retransmit_timeout_s
            + parameters.max_network_delay_s
        )
        # A heartbeat slower than the token timeout could never be the first to notice.
        usable = parameters.heartbeat_failures_allowed > 0 and heartbeat < parameters.token_timeout_s
        self.heartbeat_timeout_s = heartbeat if usable else None

    @property
    def is_representative(self) -> bool:
        """Whether this node made the present ring."""
        return self.ring.rep == self.me

    def is_credible(self, ring_seq: int) -> bool:
        """Whether a peer may mean this ring number. Believing any would let one packet use the numbers up for good."""
        return ring_seq < max(self.token_ring_seq, RING_SEQ_USUAL) + RING_SEQ_STRIDE

    @property
    def has_left(self) -> bool:
        """Whether the node has stopped; a message that the ring delivers may be the order to."""
        return self.state is State.LEFT

    def change_state(self, state: State) -> None:
        """Enter `state`; a transition that the table lacks is a defect of ours."""
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"no transition from {self.state.value} to {state.value}")
        self.state = state

    def log(self, level: str, text: str) -> None:
        """Queue a log line."""
        self.emit(Log(level, "TOTEM", text))

    def broadcast(self, data: bytes, *, to_self: bool) -> None:
        """Send to all others and, where the protocol has a node hear itself, to ourselves."""
        self.emit(Broadcast(data))
        if to_self:
            self.loopback.append(data)

    def unicast(self, nodeid: NodeId, data: bytes) -> None:
        """Send a token; to ourselves by the loopback, so that a lone node needs no network. Like what is sent to others
        it waits for the disk: else a lone node would install a ring whose number its next life could use again."""
        if nodeid != self.me:
            self.emit(Unicast(nodeid, data))
        elif self.storing:
            self.withheld_token = data
        else:
            self.loopback.append(data)

    def persist_ring_seq(self, seq: int) -> None:
        """Make a ring number durable before anything that follows."""
        if self.emit(PersistRingSeq(seq)):
            self.storing = True
            self.withheld_token = None

    def send_token(self, nodeid: NodeId, data: bytes) -> None:
        """Send a token and keep it, byte for byte, for retransmission."""
        self.token_copy = (nodeid, data)
        self.unicast(nodeid, data)

    def resend_token(self) -> None:
        """Send the stored token again: lost on its way, or parked and released."""
        if self.token_copy is not None:
            self._warn_of_late_token()
            self.unicast(*self.token_copy)
            timeout_s = self.parameters.token_retransmit_timeout_s
            self.retransmit_deadline = self.now + (timeout_s / LOAN_RETRANSMITS if self.direct.loan_out else timeout_s)

    def _warn_of_late_token(self) -> None:
        """Say it once when the token has been away for the configured part of its timeout."""
        timeout_s = self.parameters.token_timeout_s
        away_s = self.now - (self.token_deadline - timeout_s)
        percent = self.parameters.token_warning_percent
        if percent and not self.token_warned and away_s >= timeout_s * percent / 100:
            self.token_warned = True
            self.log(
                "warning",
                f"the token has not been seen for {away_s * 1000:.0f} ms; it is lost after {timeout_s * 1000:.0f} ms",
            )

    def start_token_timers(self) -> None:
        """The token was seen: count its absence from now."""
        self.token_deadline = self.now + self.parameters.token_timeout_s
        self.token_warned = False
        self.retransmit_deadline = self.now + self.parameters.token_retransmit_timeout_s

    def successor(self, members: tuple[NodeId, ...]) -> NodeId:
        """The member after this node; members ascend and the last is followed by the first."""
        return members[(members.index(self.me) + 1) % len(members)]

    def current_queue(self) -> deque[Outgoing]:
        """The queue that the token sends from and that new packets go to."""
        return self.transitional_queue if self.waiting_trans_ack else self.queue

    def want_token(self) -> None:
        """Something here waits for the token."""
        direct = self.direct
        if self.parameters.direct_token and (self.parked or direct.holding or direct.called):
            # Asked for when the whole input has been handled: there may be more.
            self.wanted = True
        else:
            self.cancel_hold()

    def cancel_hold(self) -> None:
        """Have the token rotate, if it rests."""
        if not self.held:
            return
        self.held = self.direct.called = False
        self.stats.token_hold_cancel_tx += 1
        self.broadcast(encode_hold_cancel(HoldCancel(self.me, self.ring)), to_self=True)
