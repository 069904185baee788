"""The cpg service: requests of local clients, messages of all nodes, and synchronization of the process table.

Nothing changes when a client asks; everything changes when a message comes back in the total order, so that every
node goes through the same memberships (protocol/, chapter "Services", section cpg). The exception is
synchronization, where every member of the new ring says which processes it has:

    sync_init      drop the last round's announcements; note which nodes have been with us without a break
    sync_process   multicast a down list (for logs only), then join lists, unless there is nothing to announce
    sync_activate  processes of lost nodes go (nodedown), announced ones come (nodeup), unannounced ones go (procdown)

Two things differ from corosync, where no peer can tell. A node counts as lost if it was missing from any transitional
configuration since the last completed round, not just from the last one: a process id that a restarted node uses
again is a new process. And a client that dies while its leave cannot be queued is left out of the join lists.
"""

from collections.abc import Callable, Sequence
from typing import Final

from totemd.errors import BadPacket, Code, ServiceError
from totemd.ids import NO_RING, NodeId, RingId
from totemd.limits import (
    CPG_DATA_MAX,
    CPG_NAME_MAX,
    CPG_PROCESSES_MAX,
    CPG_PROCESSES_PER_NODE_MAX,
    PROCESSOR_COUNT_MAX,
)
from totemd.services.base import BatchHost, Listener, ServiceId
from totemd.services.cpg.events import (
    CpgChange,
    CpgDelivered,
    CpgGroup,
    CpgMember,
    CpgMembershipChanged,
    CpgPartialDelivered,
    TotemConfigurationChanged,
)
from totemd.services.cpg.local import EndpointState, LocalProcess, LocalProcesses
from totemd.services.cpg.processes import ProcessTable
from totemd.services.cpg.round import Round
from totemd.services.cpg.run import CpgRun, McastHead, McastHeads
from totemd.totem.api import ConfigurationChanged
from totemd.wire import cpg as wire
from totemd.wire.cpg import CpgFragment, CpgFunction, CpgReason
from totemd.wire.groups import Buffer

_PID_MAX: Final = 0xFFFFFFFF
_REASONS: Final = {int(reason): reason for reason in CpgReason}
_SPEAKING: Final = (EndpointState.JOIN_STARTED, EndpointState.JOIN_COMPLETED)


class Cpg:
    """Service 2. A listener stands for one process in one group; a client has as many as it has groups.

    The node calls `retry_pending` whenever the send queue has room again and when synchronization has completed.
    """

    def __init__(self, host: BatchHost) -> None:
        self._host = host
        self._table = ProcessTable()
        self._local = LocalProcesses()
        self._connected: dict[int, Listener] = {}
        self._unsent_leaves: dict[tuple[bytes, int], LocalProcess] = {}
        self._handlers: Final[dict[int, Callable[[NodeId, bytes], None]]] = {
            CpgFunction.PROC_JOIN: self._receive_proc_join,
            CpgFunction.PROC_LEAVE: self._receive_proc_leave,
            CpgFunction.JOIN_LIST: self._receive_join_list,
            CpgFunction.MCAST: self._receive_mcast,
            CpgFunction.DOWN_LIST_OLD: self._receive_down_list_old,
            CpgFunction.DOWN_LIST: self._receive_down_list,
            CpgFunction.PARTIAL_MCAST: self._receive_partial_mcast,
        }
        self._activated: frozenset[NodeId] = frozenset()
        """Members of the ring of the last completed round."""
        self._survivors: frozenset[NodeId] = frozenset()
        """Those of them that have been with this node in every configuration since."""
        self._ring = NO_RING
        self._members: tuple[NodeId, ...] = ()
        self._round: Round | None = None
        self._heads = McastHeads()

    @property
    def service_id(self) -> int:
        return ServiceId.CPG

    # requests

    def connect(self, endpoint: Listener) -> None:
        """Have `TotemConfigurationChanged` pushed to the listener also while it is unjoined, until `disconnect`."""
        self._connected[id(endpoint)] = endpoint

    def join(self, endpoint: Listener, group: bytes, pid: int, *, initial_configuration: bool = False) -> None:
        """Begin to join; a `CpgMembershipChanged` with the process in `joined` tells that it is done.

        With `initial_configuration` a `TotemConfigurationChanged` follows it.
        ServiceError: NAME_TOO_LONG; INVALID_PARAM (pid); EXIST (the process is in the group, or the listener in a
        group); BUSY (the listener's leave is under way); TRY_AGAIN (the process's former leave is under way, no room,
        synchronizing); NO_RESOURCES (too many processes).
        """
        if len(group) > CPG_NAME_MAX:
            raise ServiceError(Code.NAME_TOO_LONG, f"a group's name has at most {CPG_NAME_MAX} bytes, not {len(group)}")
        if not 0 <= pid <= _PID_MAX:
            raise ServiceError(Code.INVALID_PARAM, f"a process id is a number from 0 to {_PID_MAX}, not {pid}")
        match self.state(endpoint):
            case EndpointState.LEAVE_STARTED:
                raise ServiceError(Code.BUSY, "the leave from the last group is still under way")
            case EndpointState.JOIN_STARTED | EndpointState.JOIN_COMPLETED:
                raise ServiceError(Code.EXIST, "this client is in a group already")
        other = self._local.find(group, pid)
        if other is not None and other.state is not EndpointState.LEAVE_STARTED:
            raise ServiceError(Code.EXIST, f"process {pid} of this node is in the group already")
        if other is not None or (group, self._host.nodeid, pid) in self._table:
            raise ServiceError(Code.TRY_AGAIN, f"process {pid} of this node is still leaving the group")
        if len(self._local) >= CPG_PROCESSES_PER_NODE_MAX or len(self._table) >= CPG_PROCESSES_MAX:
            raise ServiceError(Code.NO_RESOURCES, "too many processes are in groups")
        self._multicast(wire.encode_proc_join(wire.ProcChange(group, pid, CpgReason.JOIN)))
        self._local.add(LocalProcess(endpoint, group, pid, initial_configuration))

    def leave(self, endpoint: Listener) -> None:
        """Begin to leave; a last `CpgMembershipChanged` with the process in `left` tells that it is done.

        Never lost: a leave that cannot be queued now is sent later. ServiceError: NOT_EXIST (not joined, or leaving
        already); BUSY (the join is still under way).
        """
        process = self._local.of(endpoint)
        if process is None or process.state is EndpointState.LEAVE_STARTED:
            raise ServiceError(Code.NOT_EXIST, "this client is in no group")
        if process.state is EndpointState.JOIN_STARTED:
            raise ServiceError(Code.BUSY, "the join is still under way")
        self._begin_leave(process, CpgReason.LEAVE)

    def disconnect(self, endpoint: Listener) -> None:
        """The client is gone: it hears nothing more, and its process leaves its group. Never refused, never lost."""
        self._connected.pop(id(endpoint), None)
        process = self._local.detach(endpoint)
        if process is not None and process.state is not EndpointState.LEAVE_STARTED:
            self._begin_leave(process, CpgReason.PROC_DOWN)

    def multicast(self, endpoint: Listener, data: bytes, *, safe: bool = False) -> None:
        """Send `data` to the listener's group, in agreed order, or with `safe` once every member node has it.

        ServiceError: NOT_EXIST (in no group, or leaving); TOO_BIG; TRY_AGAIN (no room, or synchronizing).
        """
        process = self._speaker(endpoint)
        if len(data) > CPG_DATA_MAX:
            raise ServiceError(Code.TOO_BIG, f"a message has at most {CPG_DATA_MAX} bytes, not {len(data)}")
        message = wire.Mcast(process.group, process.pid, self._host.nodeid, 0, data)
        self._multicast(wire.encode_mcast(message), safe=safe)

    def multicast_all(self, endpoint: Listener, data: Sequence[Buffer], *, fill: bool = True) -> int:
        """Send messages in agreed order, each of at most CPG_DATA_MAX bytes; gives how many of them, from the first on,
        are queued. Without `fill` it stops when the queue is nearly full. `multicast` says what is the matter with the
        next."""
        process = self._local.by_endpoint.get(id(endpoint))
        if process is None or process.state not in _SPEAKING:
            return 0
        heads = []
        for piece in data:
            size = len(piece)
            if size != process.head_size:
                process.head = wire.encode_mcast_head(process.group, process.pid, self._host.nodeid, size)
                process.head_size = size
            heads.append(process.head)
        return self._host.multicast_all(heads, data, fill=fill)

    def partial_multicast(
        self, endpoint: Listener, fragment: bytes, kind: CpgFragment, total: int, *, safe: bool = False
    ) -> None:
        """Send a fragment of a message of `total` bytes to the listener's group; `safe` as for `multicast`.

        ServiceError: as for `multicast`; INVALID_PARAM (total); INTERRUPT (the membership has changed since the first
        fragment: begin again).
        """
        process = self._speaker(endpoint)
        if len(fragment) > CPG_DATA_MAX:
            raise ServiceError(Code.TOO_BIG, f"a fragment has at most {CPG_DATA_MAX} bytes, not {len(fragment)}")
        if not len(fragment) <= total <= 0xFFFFFFFF:
            raise ServiceError(Code.INVALID_PARAM, f"{len(fragment)} bytes cannot be a fragment of {total}")
        if kind is not CpgFragment.FIRST and process.interrupted:
            raise ServiceError(Code.INTERRUPT, "the membership has changed since the message's first fragment")
        message = wire.PartialMcast(process.group, process.pid, kind, total, self._host.nodeid, 0, fragment)
        self._multicast(wire.encode_partial_mcast(message), safe=safe)
        if kind is CpgFragment.FIRST:
            process.interrupted = False

    def state(self, endpoint: Listener) -> EndpointState:
        """How far the listener's joining is."""
        process = self._local.of(endpoint)
        return EndpointState.UNJOINED if process is None else process.state

    def members(self, group: bytes) -> tuple[CpgMember, ...]:
        """The group's members as of now, ascending; empty for an unknown group."""
        return self._table.members(group)

    def groups(self, *, by_age: bool = False) -> tuple[CpgGroup, ...]:
        """All groups that have members, ascending by name, or the oldest first."""
        names = self._table.groups_by_age() if by_age else self._table.groups()
        return tuple(CpgGroup(name, self._table.members(name)) for name in names)

    def retry_pending(self) -> bool:
        """Send the leaves that could not be queued; True if none is left."""
        for key, process in list(self._unsent_leaves.items()):
            if not self._send_leave(process):
                return False
            del self._unsent_leaves[key]
        return True

    def _speaker(self, endpoint: Listener) -> LocalProcess:
        process = self._local.of(endpoint)
        if process is None or process.state not in _SPEAKING:
            raise ServiceError(Code.NOT_EXIST, "this client is in no group")
        return process

    def _multicast(self, message: bytes, *, safe: bool = False) -> None:
        if self._host.sync_in_progress:
            raise ServiceError(Code.TRY_AGAIN, "the ring is synchronizing")
        if not self._host.multicast(message, safe=safe):
            raise ServiceError(Code.TRY_AGAIN, "the send queue is full")

    def _begin_leave(self, process: LocalProcess, reason: CpgReason) -> None:
        process.state = EndpointState.LEAVE_STARTED
        process.unsent_leave = reason
        if not self._send_leave(process):
            self._unsent_leaves[process.key] = process

    def _send_leave(self, process: LocalProcess) -> bool:
        assert process.unsent_leave is not None
        if self._host.sync_in_progress:
            return False
        change = wire.ProcChange(process.group, process.pid, process.unsent_leave)
        if not self._host.multicast(wire.encode_proc_leave(change)):
            return False
        process.unsent_leave = None
        return True

    # messages in the total order

    def receive(self, function: int, sender: NodeId, message: bytes) -> None:
        """Act on a message; BadPacket if it is not valid."""
        handler = self._handlers.get(function)
        if handler is None:
            raise BadPacket("cpg unknown function", str(function))
        handler(sender, message)

    def receive_mcasts(self, sender: NodeId, messages: Sequence[bytes]) -> bool:
        """Deliver messages that came together if all of them are clients' messages, and plain. False: nothing has been
        done, and each must be given to `receive`."""
        heads = self._heads.read(sender, messages)
        if not heads:
            return False
        group = heads[0].group
        begin = 0
        for index, head in enumerate(heads):
            if head.group is not group and head.group != group:
                self._deliver_run(sender, group, heads[begin:index], messages[begin:index])
                begin, group = index, head.group
        if begin:
            heads, messages = heads[begin:], messages[begin:]
        self._deliver_run(sender, group, heads, messages)
        return True

    def _deliver_run(self, sender: NodeId, group: bytes, heads: Sequence[McastHead], bodies: Sequence[bytes]) -> None:
        hearers = self._local.hearing.get(group)
        if not hearers:
            return
        if not self._table.node_in_group(group, sender):
            for _ in heads:
                self._may_speak(sender, group)
            return
        run = CpgRun(sender, heads, bodies)
        events = None
        for process in hearers:
            endpoint = process.endpoint
            if endpoint is None:
                continue
            if process.push_run is not None:
                process.push_run(run)
            else:
                if events is None:
                    events = run.events()
                for event in events:
                    endpoint.push(event)

    def _receive_proc_join(self, sender: NodeId, message: bytes) -> None:
        join = wire.decode_proc_join(message)
        process = self._local.find(join.group, join.pid) if sender == self._host.nodeid else None
        try:
            added = self._table.add(join.group, sender, join.pid)
        except BadPacket:
            if process is not None and not process.joined:
                self._refuse_own_join(process)
            raise
        if process is not None and not process.joined:
            self._local.complete_join(process)
        if added:
            self._notify(join.group, joined=(CpgChange(sender, join.pid, CpgReason.JOIN),))
        if process is not None and process.endpoint is not None and process.initial_configuration:
            process.initial_configuration = False
            process.endpoint.push(TotemConfigurationChanged(self._ring, self._members))

    def _refuse_own_join(self, process: LocalProcess) -> None:
        """The cluster filled up while the join was under way: the client is told that it is out again."""
        if process.endpoint is not None:
            left = (CpgChange(self._host.nodeid, process.pid, CpgReason.PROC_DOWN),)
            process.endpoint.push(CpgMembershipChanged(process.group, self._table.members(process.group), (), left))
        self._retire(process)

    def _receive_proc_leave(self, sender: NodeId, message: bytes) -> None:
        leave = wire.decode_proc_leave(message)
        reason = _REASONS.get(leave.reason, CpgReason.UNDEFINED)
        self._remove(leave.group, sender, leave.pid, reason)

    def _receive_mcast(self, sender: NodeId, message: bytes) -> None:
        mcast = wire.decode_mcast(message)
        hearers = self._local.hearers(mcast.group)
        if not hearers or not self._may_speak(sender, mcast.group):
            return
        event = CpgDelivered(mcast.group, sender, mcast.pid, mcast.payload)
        for process in hearers:
            if process.endpoint is not None:
                process.endpoint.push(event)

    def _receive_partial_mcast(self, sender: NodeId, message: bytes) -> None:
        mcast = wire.decode_partial_mcast(message)
        hearers = self._local.hearers(mcast.group)
        if not hearers or not self._may_speak(sender, mcast.group):
            return
        kind = CpgFragment(mcast.kind)
        event = CpgPartialDelivered(mcast.group, sender, mcast.pid, kind, mcast.total, mcast.payload)
        for process in hearers:
            if process.endpoint is not None:
                process.endpoint.push(event)

    def _may_speak(self, sender: NodeId, group: bytes) -> bool:
        # after a merge a message of a process that nobody here knows yet may still come out of a peer's queue
        if self._table.node_in_group(group, sender):
            return True
        self._host.log("debug", f"dropped a message of node {sender} to group {group!r}, which it is not in")
        return False

    def _receive_join_list(self, sender: NodeId, message: bytes) -> None:
        joins = wire.decode_join_list(message)
        if self._round is not None:
            self._round.announce(sender, joins)

    def _receive_down_list(self, sender: NodeId, message: bytes) -> None:
        down = wire.decode_down_list(message)
        self._host.log("debug", f"cpg: node {sender} lost {len(down.left)} of {down.old_members} members")

    def _receive_down_list_old(self, sender: NodeId, message: bytes) -> None:
        wire.decode_down_list_old(message)

    def _remove(self, group: bytes, nodeid: NodeId, pid: int, reason: CpgReason) -> None:
        if not self._table.remove(group, nodeid, pid):
            return
        self._notify(group, left=(CpgChange(nodeid, pid, reason),))
        process = self._local.find(group, pid) if nodeid == self._host.nodeid else None
        if process is not None and process.joined:
            self._retire(process)

    def _retire(self, process: LocalProcess) -> None:
        self._unsent_leaves.pop(process.key, None)
        self._local.retire(process)

    def _notify(self, group: bytes, *, joined: tuple[CpgChange, ...] = (), left: tuple[CpgChange, ...] = ()) -> None:
        hearers = self._local.hearers(group)
        if not hearers:
            return
        event = CpgMembershipChanged(group, self._table.members(group), joined, left)
        for process in hearers:
            process.interrupted = True
            if process.endpoint is not None:
                process.endpoint.push(event)

    # synchronization

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        """Nothing yet: memberships follow when synchronization has completed."""

    def sync_init(self, transitional: tuple[NodeId, ...], members: tuple[NodeId, ...], ring: RingId) -> None:
        """A round begins; what an aborted one left is dropped."""
        self._survivors &= frozenset(transitional)
        self._members = members
        self._ring = ring
        self._round = Round(members)

    def sync_process(self) -> bool:
        """Multicast what is not multicast yet of the down list and the join lists; True when all is."""
        if self._round is None:
            return True
        if not self._round.down_list_sent:
            lost = sorted(self._activated - self._survivors)[:PROCESSOR_COUNT_MAX]
            if not self._host.multicast(wire.encode_down_list(wire.DownList(len(self._activated), tuple(lost)))):
                return False
            self._round.down_list_sent = True
        while joins := self._round.next_join_list(self._local):
            if not self._host.multicast(wire.encode_join_list(joins)):
                return False
            self._round.sent(joins)
        return True

    def sync_activate(self) -> None:
        """Bring the table to what the members have announced, and tell every client what has changed."""
        if self._round is None:
            return
        self._remove_lost_nodes(self._activated - self._survivors)
        self._add_announced(self._round)
        self._remove_unannounced(self._round)
        self._activated = self._survivors = frozenset(self._members)
        self._round = None
        event = TotemConfigurationChanged(self._ring, self._members)
        listeners = {id(endpoint): endpoint for endpoint in (*self._connected.values(), *self._local.listeners())}
        for endpoint in listeners.values():
            endpoint.push(event)

    def sync_abort(self) -> None:
        """The configuration has changed again; announcements of this round count for nothing."""
        self._round = None

    def _remove_lost_nodes(self, lost: frozenset[NodeId]) -> None:
        for group in self._table.groups():
            gone = [member for member in self._table.members(group) if member.nodeid in lost]
            for member in gone:
                self._table.remove(group, member.nodeid, member.pid)
            if gone:
                left = tuple(CpgChange(member.nodeid, member.pid, CpgReason.NODE_DOWN) for member in gone)
                self._notify(group, left=left)

    def _add_announced(self, ended: Round) -> None:
        arrivals: dict[bytes, list[CpgChange]] = {}
        for nodeid in ended.announcers():
            if nodeid == self._host.nodeid:
                continue
            for group, pid in sorted(ended.announced_by(nodeid)):
                try:
                    if self._table.add(group, nodeid, pid):
                        arrivals.setdefault(group, []).append(CpgChange(nodeid, pid, CpgReason.NODE_UP))
                except BadPacket as error:
                    self._host.log("warning", f"cpg: {error}; the rest of what it announced is ignored")
                    break
        for group in sorted(arrivals):
            self._notify(group, joined=tuple(arrivals[group]))

    def _remove_unannounced(self, ended: Round) -> None:
        # own processes too: what this node has not announced is removed by everybody else at this same place
        for nodeid, pid, group in list(self._table):
            if (group, pid) not in ended.announced_by(nodeid):
                self._remove(group, nodeid, pid, CpgReason.PROC_DOWN)
