"""Votequorum: the service (5) around the rules. Messages, synchronization and timers in; verdicts and events out."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from struct import Struct
from typing import Final

from totemd.config.model import CmapEntry, CmapType, QuorumSettings
from totemd.errors import BadPacket, Code, ServiceError
from totemd.ids import NO_RING, NodeId, RingId
from totemd.services.base import Host, Listener, ServiceId
from totemd.services.quorum import QuorumView
from totemd.services.votequorum.arithmetic import may_expect, may_give_device, may_have_votes, recalculate
from totemd.services.votequorum.device import QuorumDevice
from totemd.services.votequorum.electorate import Electorate, VoterState, first_electorate
from totemd.services.votequorum.events import (
    FLAG_WORDS,
    ExpectedVotesChanged,
    NodeInfoReply,
    NodelistChanged,
    NodeStanding,
    QuorumChanged,
)
from totemd.services.votequorum.forced import FORCED_S_MAX, ForcedExpectation
from totemd.services.votequorum.report import node_info, runtime_keys
from totemd.services.votequorum.rules import (
    activate_configuration,
    apply_listed,
    apply_nodeinfo,
    apply_reconfigure,
    apply_settings,
    enter_configuration,
    opens_window,
    window_expired,
)
from totemd.totem.api import ConfigurationChanged
from totemd.wire.votequorum import (
    DEVICE_NODEID,
    FUNCTION_NODEINFO,
    FUNCTION_QDEVICE_RECONFIGURE,
    FUNCTION_QDEVICE_REG,
    FUNCTION_RECONFIGURE,
    NODE_LEAVING,
    NODE_QDEVICE_ALIVE,
    QDEVICE_REGISTER,
    RECONFIGURE_CANCEL_WAIT_FOR_ALL,
    RECONFIGURE_EXPECTED_VOTES,
    RECONFIGURE_FORCED,
    RECONFIGURE_NODE_VOTES,
    U32_MAX,
    NodeInfo,
    QdeviceReg,
    Reconfigure,
    decode_nodeinfo,
    decode_qdevice_reconfigure,
    decode_qdevice_reg,
    decode_reconfigure,
    encode_nodeinfo,
    encode_qdevice_reg,
    encode_reconfigure,
)

EV_TRACKING_FILE: Final = "ev_tracking"
"""The state file of expected_votes_tracking."""

_EV_TRACKING: Final = Struct("=I")  # corosync's file has the host's byte order
_WINDOW_TIMER: Final = "votequorum.window"
_RETRY_TIMER: Final = "votequorum.retry"
_RETRY_DELAY_S: Final = 0.1


def encode_ev_tracking(expected_votes: int) -> bytes:
    """The content of the ev_tracking file."""
    return _EV_TRACKING.pack(min(expected_votes, U32_MAX))


def decode_ev_tracking(data: bytes) -> int:
    """Expected votes from the ev_tracking file; 0 if it holds nothing that can be read."""
    return int(_EV_TRACKING.unpack_from(data)[0]) if len(data) >= _EV_TRACKING.size else 0


def _cannot_expect(votes: int, present: int) -> ServiceError:
    text = f"{votes} expected votes are fewer than are present, or would cost quorum (present: {present})"
    return ServiceError(Code.INVALID_PARAM, text)


class VoteQuorum:
    """Service 5. Construct, then `start` once the ring takes messages; `quorum_changed` is the quorum service's.

    The node may call `retry_pending` when the send queue has room again, so that nothing waits for the timer.
    """

    def __init__(
        self,
        host: Host,
        settings: QuorumSettings,
        *,
        quorum_changed: Callable[[QuorumView], None],
        keys_changed: Callable[[], None] = lambda: None,
        tracked_expected: int | None = None,
        listed: Mapping[NodeId, int] | None = None,
    ) -> None:
        """`keys_changed` is called when `runtime_keys` may have. `listed` has the votes of all nodes if the
        configuration is replicated: then they come from nowhere else."""
        self._host = host
        self._keys_changed = keys_changed
        self._reconfigured = False
        self._listed = listed
        self._quorum_changed = quorum_changed
        self._electorate = recalculate(first_electorate(settings, host.nodeid, tracked_expected or 0))
        self._listeners: list[Listener] = []
        self._ring = NO_RING
        self._to_synchronize: list[bytes] = []
        self._nodelist_told = False
        self._window_is_over = False
        self._unsent: dict[str, Callable[[], bytes]] = {}
        """What must still be multicast, newest wish by kind: built when there is room."""
        self.device = QuorumDevice(host, self)
        self.forced = ForcedExpectation(host, self)
        if settings.expected_votes_tracking and self._electorate.tracked_expected != tracked_expected:
            self._persist()

    @property
    def service_id(self) -> int:
        return ServiceId.VOTEQUORUM

    @property
    def electorate(self) -> Electorate:
        """All that decides about quorum, as of now; during synchronization it is in flux."""
        return self._electorate

    # --- callers

    def start(self) -> None:
        """Tell the ring of this node."""
        self.announce()

    def get_info(self, nodeid: NodeId = 0) -> NodeInfoReply:
        """Votes and quorum, and the standing of `nodeid` (0: this node). NOT_EXIST: never seen."""
        return node_info(self._electorate, nodeid, self.device.name)

    def nodes(self) -> tuple[NodeStanding, ...]:
        """All nodes ever seen, ascending, with what they bring; without the quorum device."""
        return tuple(NodeStanding(voter.nodeid, voter.state, voter.votes) for voter in self._electorate.voters)

    def flags(self) -> tuple[str, ...]:
        """The words that status prints: 2Node Quorate WaitForAll ... in this order."""
        flags = self.get_info().flags
        return tuple(word for flag, word in FLAG_WORDS if flags & flag)

    def set_expected(self, votes: int) -> None:
        """Have all members expect so many votes. Done when it comes back in the total order.

        INVALID_PARAM: fewer than are present, or a quorate cluster would lose quorum. NO_RESOURCES: queue full.
        """
        if votes > U32_MAX or not may_expect(self._electorate, votes):
            raise _cannot_expect(votes, self.get_info().total_votes)
        self._request(Reconfigure(self._host.nodeid, votes, RECONFIGURE_EXPECTED_VOTES))

    def force_expected(self, votes: int, seconds: int, *, yes: bool) -> None:
        """Have all present members expect so many votes for a while; then, or when those that are away have come back,
        they expect the configured number again.

        INVALID_PARAM: as `set_expected`, or no time. ACCESS: fewer than configured, so that two components might be
        quorate, and nobody has said `yes` to that. NO_RESOURCES: queue full.
        """
        if not 1 <= seconds <= FORCED_S_MAX:
            raise ServiceError(Code.INVALID_PARAM, f"{seconds} s: from 1 to {FORCED_S_MAX} are possible")
        if votes > U32_MAX or not may_expect(self._electorate, votes):
            raise _cannot_expect(votes, self.get_info().total_votes)
        configured = self._electorate.settings.expected_votes
        if votes < configured and not yes:
            raise ServiceError(
                Code.ACCESS, f"{votes} expected votes are fewer than the {configured} configured: that needs a yes"
            )
        self._request(Reconfigure(votes, seconds, RECONFIGURE_FORCED))
        # For members that are corosync; ours know it already when it comes.
        again = Reconfigure(self._host.nodeid, votes, RECONFIGURE_EXPECTED_VOTES)
        self.send("expected", lambda: encode_reconfigure(again))

    def set_votes(self, nodeid: NodeId, votes: int) -> None:
        """Give a node (0: the quorum device) so many votes. NAME_NOT_FOUND: never seen. NOT_SUPPORTED: the
        configuration is replicated, and gives the nodes their votes. Otherwise as `set_expected`."""
        if nodeid == DEVICE_NODEID:
            self._set_device_votes(votes)
            return
        if self._listed is not None:
            text = "the votes of a managed cluster's nodes are those of its configuration: change quorum_votes there"
            raise ServiceError(Code.NOT_SUPPORTED, text)
        voter = self._electorate.voter(nodeid)
        if voter is None:
            raise ServiceError(Code.NAME_NOT_FOUND, f"node {nodeid} was never seen")
        if not 0 <= votes <= U32_MAX or not may_have_votes(self._electorate, replace(voter, votes=votes)):
            raise ServiceError(Code.INVALID_PARAM, f"{votes} votes for node {nodeid} would put quorum out of reach")
        self._request(Reconfigure(nodeid, votes, RECONFIGURE_NODE_VOTES))

    def _set_device_votes(self, votes: int) -> None:
        if not 0 <= votes <= U32_MAX or not may_give_device(self._electorate, votes):
            raise ServiceError(Code.INVALID_PARAM, f"{votes} votes for the quorum device would cost quorum")
        self._request(Reconfigure(DEVICE_NODEID, votes, RECONFIGURE_NODE_VOTES))

    def cancel_wait_for_all(self) -> None:
        """Let all members stop waiting (wait_for_all) until quorum is lost again. NO_RESOURCES: queue full."""
        self._request(Reconfigure(self._host.nodeid, 0, RECONFIGURE_CANCEL_WAIT_FOR_ALL))

    def track_start(self, listener: Listener, *, current: bool, changes: bool) -> None:
        """Push the present state (`current`) and register for changes. EXIST: registered already, whatever is wanted
        now (the present state has been pushed all the same)."""
        if current:
            listener.push(self._nodelist_event())
            listener.push(self._quorum_event())
        if any(known is listener for known in self._listeners):
            raise ServiceError(Code.EXIST, "votequorum is tracked already")
        if changes:
            self._listeners.append(listener)

    def track_stop(self, listener: Listener) -> None:
        """NOT_EXIST: not registered."""
        kept = [known for known in self._listeners if known is not listener]
        if len(kept) == len(self._listeners):
            raise ServiceError(Code.NOT_EXIST, "votequorum is not tracked")
        self._listeners = kept

    def reconfigure(self, settings: QuorumSettings, listed: Mapping[NodeId, int] | None = None) -> None:
        """The configuration was read again. What may change at run time does, the votes by way of the total order; or,
        with the votes of all `listed` nodes, at once: this is the same place in the order on all nodes."""
        before = self._electorate.settings
        self._reconfigured = True
        if listed is not None:
            self._reconfigure_listed(settings, listed)
            return
        self._adopt(apply_settings(self._electorate, settings))
        self._keys_changed()
        self.announce(device=True)
        if settings.votes != before.votes:
            self.send("votes", self._reconfigure_from_settings(RECONFIGURE_NODE_VOTES))
        if self.forced.now is not None:
            # What is forced stays so until its time is over: a node may be taken out of the list meanwhile.
            self.forced.check()
        if self.forced.now is None and settings.expected_votes != before.expected_votes:
            self.send("expected", self._reconfigure_from_settings(RECONFIGURE_EXPECTED_VOTES))

    def _reconfigure_listed(self, settings: QuorumSettings, listed: Mapping[NodeId, int]) -> None:
        self._listed = listed
        same = settings.expected_votes == self._electorate.settings.expected_votes
        keeps_expected = same if self.forced.now is None else self.forced.outlives(settings.expected_votes)
        self._adopt(apply_listed(self._electorate, settings, listed, keeps_expected=keeps_expected))
        self.forced.check()
        if self._to_synchronize:
            # In force before the others are told: by the votes of before they would count something of both.
            self._to_synchronize = self._state()
        self._keys_changed()
        self.announce(device=True)

    def retry_pending(self) -> bool:
        """Send the announcements that could not be queued; True if none is left. Else a timer tries again."""
        for kind, build in list(self._unsent.items()):
            if not self._host.multicast(build()):
                self._host.set_timer(_RETRY_TIMER, _RETRY_DELAY_S, self._retry)
                return False
            del self._unsent[kind]
        return True

    def leaving(self) -> None:
        """This node is about to leave cleanly: under allow_downscale the others need not expect it."""
        if self._electorate.settings.allow_downscale:
            self.change_own_flags(set_=NODE_LEAVING)
            self.announce()

    def runtime_keys(self) -> dict[str, CmapEntry]:
        """The cmap's runtime.votequorum keys as of now."""
        keys = runtime_keys(self._electorate, reconfigured=self._reconfigured)
        if self._electorate.settings.device_model is not None:
            keys["runtime.votequorum.qdevice_can_operate"] = CmapEntry(CmapType.U8, 1)
        return keys

    # --- the ring

    def receive(self, function: int, sender: NodeId, message: bytes) -> None:
        if sender not in self._electorate.members:
            raise BadPacket("votequorum sender is no member", f"node {sender}")
        match function:
            case f if f == FUNCTION_NODEINFO:
                self._nodeinfo_delivered(sender, decode_nodeinfo(message))
            case f if f == FUNCTION_RECONFIGURE:
                self._reconfigure_delivered(sender, decode_reconfigure(message))
            case f if f == FUNCTION_QDEVICE_REG:
                self.device.registration_delivered(sender, decode_qdevice_reg(message))
            case f if f == FUNCTION_QDEVICE_RECONFIGURE:
                self.device.renamed(decode_qdevice_reconfigure(message))
            case _:
                raise BadPacket("votequorum function unknown", f"{function} from node {sender}")

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        """Nothing: synchronization brings the members."""

    def sync_init(self, transitional: tuple[NodeId, ...], members: tuple[NodeId, ...], ring: RingId) -> None:
        self._ring = ring
        self._adopt(enter_configuration(self._electorate, tuple(sorted(members))))
        if opens_window(self._electorate):
            self._window_is_over = False
            delay_s = self._electorate.settings.last_man_standing_window_s
            self._host.set_timer(_WINDOW_TIMER, delay_s, self._window_expired)
        self.device.enter_configuration(ring)
        # NODEINFO is the state at this place of the total order, not at the time when the queue has room.
        self._to_synchronize = self._state()
        self._nodelist_told = False

    def sync_process(self) -> bool:
        while self._to_synchronize:
            if not self._host.multicast(self._to_synchronize[0]):
                return False
            del self._to_synchronize[0]
        if not self._nodelist_told:
            self._nodelist_told = True
            self._push(self._nodelist_event())
        return not self.device.holds_sync

    def sync_activate(self) -> None:
        self._adopt(activate_configuration(self._electorate))
        if self._window_is_over:
            self._window_is_over = False
            self._adopt(window_expired(self._electorate))
        self.forced.activated()
        self._publish()

    def sync_abort(self) -> None:
        self._to_synchronize = []

    # --- what the device needs of us

    def change_own_flags(self, *, set_: int = 0, clear: int = 0) -> bool:
        """Change this node's flags; True if they differ now."""
        before = self._electorate.own.flags
        self._electorate = self._electorate.with_own_flags(set_=set_, clear=clear)
        if self._electorate.own.flags == before:
            return False
        self._keys_changed()
        return True

    def announce(self, *, device: bool = False) -> None:
        """Multicast this node's NODEINFO, after the device's if asked; later if the queue is full now."""
        if device:
            self.send("device nodeinfo", self._device_nodeinfo)
        self.send("nodeinfo", self._own_nodeinfo)

    def send(self, kind: str, build: Callable[[], bytes]) -> None:
        """Multicast what `build` gives as soon as there is room; the newest of a kind only."""
        self._unsent[kind] = build
        self.retry_pending()

    # --- inside

    def _nodeinfo_delivered(self, sender: NodeId, info: NodeInfo) -> None:
        if info.nodeid not in (sender, DEVICE_NODEID):
            raise BadPacket("votequorum nodeinfo for another node", f"{info.nodeid} from node {sender}")
        if self._listed is not None and info.nodeid != DEVICE_NODEID:
            # It may have been queued before a configuration came into force: its votes would be those of before.
            votes = self._listed.get(info.nodeid, 0)
            info = NodeInfo(info.nodeid, votes, info.expected_votes, info.flags)
        self._adopt(apply_nodeinfo(self._electorate, sender, info))
        own = self._electorate.own
        if info.nodeid == own.nodeid and (info.votes, info.expected_votes) != (own.votes, own.expected_votes):
            # It was queued before a change that has overtaken it: the others believe what was true then.
            self.announce()

    def _reconfigure_delivered(self, sender: NodeId, change: Reconfigure) -> None:
        if change.param == RECONFIGURE_EXPECTED_VOTES and change.value == 0:
            raise BadPacket("votequorum expects no votes", f"from node {sender}")
        expected = self._electorate.own.expected_votes
        self._adopt(apply_reconfigure(self._electorate, change))
        if change.param == RECONFIGURE_EXPECTED_VOTES and self._electorate.own.expected_votes == expected:
            self._push(ExpectedVotesChanged(expected))
        if change.param == RECONFIGURE_EXPECTED_VOTES:
            self.forced.expected_votes_set(sender, change.value)
        elif change.param == RECONFIGURE_FORCED:
            self.forced.forced(sender, change.nodeid, change.value)

    def _adopt(self, after: Electorate) -> None:
        before, self._electorate = self._electorate, after
        if after != before:
            self._keys_changed()
        if after.tracked_expected != before.tracked_expected:
            self._persist()
        if before.last_man_standing and not after.last_man_standing:
            self._host.cancel_timer(_WINDOW_TIMER)
            self._host.log("warning", "last_man_standing needs nodes of one vote each; it is off from here on")
        if after.own.expected_votes != before.own.expected_votes:
            self._push(ExpectedVotesChanged(after.own.expected_votes))
        if after.quorate != before.quorate and not self._host.sync_in_progress:
            self._publish()

    def _publish(self) -> None:
        electorate = self._electorate
        if electorate.waiting_for_all:
            info = self.get_info()
            self._host.log(
                "notice", f"waiting for all cluster members: {info.total_votes} of {info.expected_votes} votes are here"
            )
        self._quorum_changed(QuorumView(electorate.quorate, self._ring, electorate.members))
        self._push(self._quorum_event())

    def _window_expired(self) -> None:
        if self._host.sync_in_progress:
            self._window_is_over = True  # the electorate is complete again at activation
        else:
            self._adopt(window_expired(self._electorate))

    def _persist(self) -> None:
        self._host.persist(EV_TRACKING_FILE, encode_ev_tracking(self._electorate.tracked_expected))

    def _push(self, event: object) -> None:
        for listener in list(self._listeners):
            listener.push(event)

    def _nodelist_event(self) -> NodelistChanged:
        return NodelistChanged(self._ring, self._electorate.members)

    def _quorum_event(self) -> QuorumChanged:
        nodes = self.nodes()
        if self.device.registered:
            alive = bool(self._electorate.own.flags & NODE_QDEVICE_ALIVE)
            state = VoterState.MEMBER if alive else VoterState.DEAD
            nodes = (NodeStanding(DEVICE_NODEID, state, self._electorate.device_votes), *nodes)
        return QuorumChanged(self._electorate.quorate, nodes)

    def _state(self) -> list[bytes]:
        """What the others are told in synchronization."""
        messages = [self._own_nodeinfo(), self._device_nodeinfo()]
        forced = self.forced.announcement()
        if forced is not None:
            messages.append(forced)
        if self.device.name:
            messages.append(encode_qdevice_reg(QdeviceReg(QDEVICE_REGISTER, self.device.name)))
        return messages

    def _own_nodeinfo(self) -> bytes:
        own = self._electorate.own
        return encode_nodeinfo(NodeInfo(own.nodeid, own.votes, own.expected_votes, own.flags))

    def _device_nodeinfo(self) -> bytes:
        return encode_nodeinfo(NodeInfo(DEVICE_NODEID, self._electorate.device_votes, 0, 0))

    def _reconfigure_from_settings(self, param: int) -> Callable[[], bytes]:
        def build() -> bytes:
            settings = self._electorate.settings
            value = settings.votes if param == RECONFIGURE_NODE_VOTES else settings.expected_votes
            return encode_reconfigure(Reconfigure(self._host.nodeid, value, param))

        return build

    def _request(self, change: Reconfigure) -> None:
        if not self._host.multicast(encode_reconfigure(change)):
            raise ServiceError(Code.NO_RESOURCES, "the send queue is full")

    def _retry(self) -> None:
        self.retry_pending()
