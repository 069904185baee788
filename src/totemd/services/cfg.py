"""The cfg service: killing nodes, shutting down with the clients' consent, and reloading (chapter "Services").

Its messages are sent SAFE. It takes no part in synchronization.

A shutdown on request is put to a vote: every tracker except the client that asks is told (`ShutdownTested`) and
answers; who goes away agrees, who does not answer in time objects. A request of kind REGARDLESS goes down whatever
the answers, but waits for them.
"""

from collections.abc import Callable
from enum import IntEnum
from itertools import count
from typing import Final, TypeAlias

from totemd.config.model import CmapEntry, CmapType
from totemd.errors import BadPacket, Code, ServiceError
from totemd.ids import NodeId, RingId
from totemd.record import record
from totemd.services.base import Host, Listener, ServiceId
from totemd.services.cmap import Cmap
from totemd.services.links import LinkStatus, Network, NodeStatus, NoNetwork, link_status, node_status
from totemd.totem.api import ConfigurationChanged
from totemd.wire import cfg as wire
from totemd.wire.cfg import CfgFunction

SHUTDOWN_TIMEOUT_KEY: Final = "cfg.shutdown_timeout"
SHUTDOWN_TIMEOUT_MS: Final = 5000
_TIMER: Final = "cfg.shutdown"
_KILLED_STATUS: Final = 255
_RELOAD_ERROR_KEY: Final = "config.reload_error_message"
_ERROR_TEXT_MAX: Final = 4000

RELOAD_REFUSED: Final = Code.INVALID_PARAM
"""What a reload that has failed is to programs; the text is for people."""

ReloadDone: TypeAlias = Callable[[str | None], None]
"""Called with None when the new configuration is in effect on this node, else with the error's text."""

ShutdownDone: TypeAlias = Callable[[Code], None]
"""Called with OK when the node goes down, with BUSY when the voters object."""


class ShutdownKind(IntEnum):
    """How much the trackers have to say, numbered as in corosync_cfg_try_shutdown(3)."""

    REQUEST = 0
    REGARDLESS = 1
    IMMEDIATE = 2


@record
class ShutdownTested:
    """May this node go down? Answer with `reply_to_shutdown`; when `cancelled` the question is settled without you."""

    kind: ShutdownKind
    cancelled: bool
    caller_gone: bool = False
    """It is cancelled because nobody wants it any more."""


class _Vote:
    """A shutdown that the trackers are asked about."""

    def __init__(self, kind: ShutdownKind, caller: Listener, done: ShutdownDone) -> None:
        self.kind = kind
        self.caller = caller
        self.done = done
        self.answers: dict[int, bool | None] = {}
        """By the voter's identity; None while it has not answered. Who has gone stays in."""

    def ask(self, voter: Listener) -> None:
        self.answers[id(voter)] = None
        voter.push(ShutdownTested(self.kind, cancelled=False))

    def settled(self) -> bool:
        return None not in self.answers.values()

    def passed(self) -> bool:
        return self.kind is ShutdownKind.REGARDLESS or all(self.answers.values())


class Cfg:
    """Service 1.

    The node calls `retry_pending` whenever the send queue has room again and when synchronization has completed.
    """

    def __init__(self, host: Host, cmap: Cmap, network: Network | None = None) -> None:
        """Without `network` there is nothing to say about links."""
        self._host = host
        self._cmap = cmap
        self._network = NoNetwork() if network is None else network
        self._trackers: dict[int, Listener] = {}
        self._vote: _Vote | None = None
        self._shutdown_unsent = False
        self._cookies = count(1)
        self._reload_callers: dict[int, ReloadDone] = {}
        """Whom to answer, by the cookie of the own message that is under way."""
        self._reloading: list[ReloadDone] | None = None
        """Whom to answer when the running reload ends; None if none runs."""
        self._reload_again: list[ReloadDone] | None = None
        """Whom to answer when another one has followed it; None if none is wanted."""
        self._handlers: Final[dict[int, Callable[[NodeId, bytes], None]]] = {
            CfgFunction.RING_REENABLE: self._receive_ring_reenable,
            CfgFunction.KILL_NODE: self._receive_kill_node,
            CfgFunction.SHUTDOWN: self._receive_shutdown,
            CfgFunction.RELOAD_CONFIG: self._receive_reload_config,
            CfgFunction.CRYPTO_RECONFIG: self._receive_crypto_reconfig,
        }

    @property
    def service_id(self) -> int:
        return ServiceId.CFG

    # requests

    @property
    def local_nodeid(self) -> NodeId:
        """This node's id."""
        return self._host.nodeid

    def links(self) -> tuple[LinkStatus, ...]:
        """This node's ends of its links."""
        return (link_status(self._network, self._host.nodeid),)

    def addresses(self, nodeid: NodeId) -> tuple[str, ...]:
        """A listed node's numeric addresses (0: this node's), one for each link. NOT_EXIST: not listed."""
        address = self._network.address_of(nodeid or self._host.nodeid)
        if address is None:
            raise ServiceError(Code.NOT_EXIST, f"node {nodeid} is not in the nodelist")
        return (address,)

    def node_status(self, nodeid: NodeId) -> NodeStatus:
        """How a node is reached; one that is not listed is not."""
        return node_status(self._network, nodeid)

    def reopen_logs(self) -> None:
        """Have the log file closed and opened anew, as after a rotation."""
        self._host.reopen_logs()

    def kill_node(self, nodeid: NodeId, reason: str) -> None:
        """Have a member end itself at once, without leaving.

        ServiceError: NOT_EXIST (no member), NAME_TOO_LONG (the reason), TRY_AGAIN (no room, or synchronizing).
        """
        if not self._cmap.is_joined(nodeid):
            raise ServiceError(Code.NOT_EXIST, f"node {nodeid} is not in the ring")
        if len(reason.encode("utf-8", "replace")) > wire.KILL_REASON_MAX:
            raise ServiceError(Code.NAME_TOO_LONG, f"a reason has at most {wire.KILL_REASON_MAX} bytes")
        self._multicast(wire.encode_kill_node(wire.KillNode(nodeid, reason)))

    def try_shutdown(self, kind: ShutdownKind, caller: Listener, done: ShutdownDone) -> None:
        """Take this node down cleanly; `done` is called once the matter is settled, perhaps before this returns.

        ServiceError: EXIST (another request is being voted on), TRY_AGAIN (IMMEDIATE only: no room, or synchronizing).
        """
        if kind is ShutdownKind.IMMEDIATE:
            self._multicast(wire.encode_shutdown())
            done(Code.OK)
            return
        if self._vote is not None:
            raise ServiceError(Code.EXIST, "another shutdown is being voted on")
        self._vote = vote = _Vote(kind, caller, done)
        for voter in self._trackers.values():
            if voter is not caller:
                vote.ask(voter)
        self._host.set_timer(_TIMER, self._shutdown_timeout_s(), self._vote_timed_out)
        self._count_votes()

    def track_start(self, listener: Listener) -> None:
        """Have the listener asked before this node goes down; also about a shutdown that is being voted on."""
        if id(listener) in self._trackers:
            return
        self._trackers[id(listener)] = listener
        if self._vote is not None and listener is not self._vote.caller:
            self._vote.ask(listener)

    def track_stop(self, listener: Listener) -> None:
        """Ask the listener no more; if a vote is on and it has not answered, it agrees."""
        if self._trackers.pop(id(listener), None) is not None:
            self._answer(listener, agreed=True)

    def reply_to_shutdown(self, listener: Listener, *, agreed: bool) -> None:
        """A voter's answer; the first one counts. ServiceError: ACCESS (it was not asked)."""
        if self._vote is None or id(listener) not in self._vote.answers:
            raise ServiceError(Code.ACCESS, "nobody has asked this client about a shutdown")
        self._answer(listener, agreed=agreed)

    def disconnect(self, listener: Listener) -> None:
        """The client is gone: as a voter it agrees; a shutdown that it asked for is off."""
        if self._vote is not None and self._vote.caller is listener:
            vote, self._vote = self._vote, None
            self._host.cancel_timer(_TIMER)
            self._tell_cancelled(vote, caller_gone=True)
        self.track_stop(listener)

    def reload(self, done: ReloadDone) -> None:
        """Have every node read its configuration file again; `done` tells how it went here.

        ServiceError: TRY_AGAIN (no room, or synchronizing).
        """
        cookie = next(self._cookies)
        self._multicast(wire.encode_reload_config(wire.ReloadConfig(self._host.nodeid, cookie)))
        self._reload_callers[cookie] = done

    def retry_pending(self) -> bool:
        """Send a shutdown that was agreed on but could not be queued; True if nothing is left to send."""
        if self._shutdown_unsent and not self._host.sync_in_progress:
            self._shutdown_unsent = not self._host.multicast(wire.encode_shutdown(), safe=True)
        return not self._shutdown_unsent

    def _multicast(self, message: bytes) -> None:
        if self._host.sync_in_progress:
            raise ServiceError(Code.TRY_AGAIN, "the ring is synchronizing")
        if not self._host.multicast(message, safe=True):
            raise ServiceError(Code.TRY_AGAIN, "the send queue is full")

    # the vote

    def _shutdown_timeout_s(self) -> float:
        entry = self._cmap.find(SHUTDOWN_TIMEOUT_KEY)
        if entry is not None and entry.type is CmapType.U32 and isinstance(entry.value, int):
            return entry.value / 1000
        return SHUTDOWN_TIMEOUT_MS / 1000

    def _answer(self, listener: Listener, *, agreed: bool) -> None:
        if self._vote is not None and self._vote.answers.get(id(listener), agreed) is None:
            self._vote.answers[id(listener)] = agreed
            self._count_votes()

    def _count_votes(self) -> None:
        if self._vote is not None and self._vote.settled():
            self._end_vote(self._vote)

    def _vote_timed_out(self) -> None:
        if self._vote is None:
            return
        vote = self._vote
        vote.answers = {voter: bool(answer) for voter, answer in vote.answers.items()}
        self._tell_cancelled(vote)
        self._end_vote(vote)

    def _tell_cancelled(self, vote: _Vote, *, caller_gone: bool = False) -> None:
        for listener in self._trackers.values():
            if id(listener) in vote.answers:
                listener.push(ShutdownTested(vote.kind, cancelled=True, caller_gone=caller_gone))

    def _end_vote(self, vote: _Vote) -> None:
        self._vote = None
        self._host.cancel_timer(_TIMER)
        if vote.passed():
            self._shutdown_unsent = True
            self.retry_pending()
            vote.done(Code.OK)
        else:
            vote.done(Code.BUSY)

    # messages in the total order

    def receive(self, function: int, sender: NodeId, message: bytes) -> None:
        """Act on a message; BadPacket if it is not valid."""
        handler = self._handlers.get(function)
        if handler is None:
            raise BadPacket("cfg unknown function", str(function))
        handler(sender, message)

    def _receive_ring_reenable(self, sender: NodeId, message: bytes) -> None:
        wire.decode_ring_reenable(message)

    def _receive_crypto_reconfig(self, sender: NodeId, message: bytes) -> None:
        # every node acts on its own message alone, and this one sends none
        wire.decode_crypto_reconfig(message)

    def _receive_kill_node(self, sender: NodeId, message: bytes) -> None:
        kill = wire.decode_kill_node(message)
        reason = "".join(character if character.isprintable() else "?" for character in kill.reason)
        if kill.nodeid == self._host.nodeid:
            text = f"killed by node {sender}: {reason}"
            self._host.log("crit", text)
            self._host.shut_down(text, status=_KILLED_STATUS, at_once=True)
        else:
            self._host.log("notice", f"node {sender} kills node {kill.nodeid}: {reason}")

    def _receive_shutdown(self, sender: NodeId, message: bytes) -> None:
        wire.decode_shutdown(message)
        self._host.log("notice", f"node {sender} was shut down by its administrator")
        if sender == self._host.nodeid:
            self._host.shut_down("shut down by the administrator")

    def _receive_reload_config(self, sender: NodeId, message: bytes) -> None:
        reload = wire.decode_reload_config(message)
        self._host.log("notice", f"node {sender} has all nodes reload their configuration")
        done = self._reload_callers.pop(reload.cookie, None) if sender == self._host.nodeid else None
        callers = [done] if done is not None else []
        if self._reloading is None:
            self._start_reload(callers)
        else:
            # the file may have changed since the running reload read it: once more, for all who ask meanwhile
            self._reload_again = (self._reload_again or []) + callers

    def _start_reload(self, callers: list[ReloadDone]) -> None:
        self._reloading = callers
        self._publish_reloading(1)
        self._host.request_reload(self._reload_ended)

    def _reload_ended(self, error: str | None) -> None:
        callers, self._reloading = self._reloading or [], None
        status = Code.OK if error is None else RELOAD_REFUSED
        self._cmap.publish("config.reload_status", CmapEntry(CmapType.I32, int(status)))
        if error is None:
            self._cmap.withdraw(_RELOAD_ERROR_KEY)
        else:
            text = error.replace("\0", "?").encode("utf-8", "replace")[:_ERROR_TEXT_MAX].decode("utf-8", "ignore")
            self._cmap.publish(_RELOAD_ERROR_KEY, CmapEntry(CmapType.STRING, text))
            self._host.log("err", f"the configuration was not reloaded: {error}")
        self._publish_reloading(0)
        for done in callers:
            done(error)
        again, self._reload_again = self._reload_again, None
        if again is not None:
            self._start_reload(again)

    def _publish_reloading(self, flag: int) -> None:
        # in this order, and both back at 0 after a failure too: readers of the map wait for that
        for key in ("config.totemconfig_reload_in_progress", "config.reload_in_progress"):
            self._cmap.publish(key, CmapEntry(CmapType.U8, flag))

    # cfg has nothing to synchronize

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        """Nothing to do."""

    def sync_init(self, transitional: tuple[NodeId, ...], members: tuple[NodeId, ...], ring: RingId) -> None:
        """Nothing to do."""

    def sync_process(self) -> bool:
        """Nothing to send."""
        return True

    def sync_activate(self) -> None:
        """Nothing to do."""

    def sync_abort(self) -> None:
        """Nothing to do."""
