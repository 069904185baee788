"""One round of synchronization as the cpg service sees it: what has been sent, and what has been announced."""

from totemd.errors import BadPacket
from totemd.ids import NodeId
from totemd.limits import CPG_JOIN_LIST_ENTRIES_MAX, CPG_PROCESSES_PER_NODE_MAX
from totemd.services.cpg.local import LocalProcess, LocalProcesses
from totemd.wire.cpg import JoinList, JoinListEntry


class Round:
    """Made by sync_init, thrown away by sync_activate and sync_abort: nothing leaks into the next round."""

    def __init__(self, members: tuple[NodeId, ...]) -> None:
        self._members = members
        self.down_list_sent = False
        self._unsent: list[LocalProcess] | None = None
        self._announced: dict[NodeId, set[tuple[bytes, int]]] = {}

    def next_join_list(self, local: LocalProcesses) -> JoinList | None:
        """What is still to announce, as much as one message takes; None at the end. Repeats itself until `sent`."""
        # Who is gone is not announced; looked at for every message, since a client may die between two of them. Who
        # only leaves is: what it multicast before its leave still waits in the queue, and all would drop it.
        unsent = local.joined() if self._unsent is None else self._unsent
        self._unsent = [p for p in unsent if p.unsent_leave is None or p.endpoint is not None]
        chunk = self._unsent[:CPG_JOIN_LIST_ENTRIES_MAX]
        return JoinList(tuple(JoinListEntry(process.pid, process.group) for process in chunk)) if chunk else None

    def sent(self, joins: JoinList) -> None:
        """The last `next_join_list` has been queued."""
        assert self._unsent is not None
        del self._unsent[: len(joins.entries)]

    def announce(self, sender: NodeId, joins: JoinList) -> None:
        """A member says that it has these processes. BadPacket if they become too many; nodes outside are ignored."""
        if sender not in self._members:
            return
        announced = self._announced.setdefault(sender, set())
        for entry in joins.entries:
            if len(announced) >= CPG_PROCESSES_PER_NODE_MAX and (entry.group, entry.pid) not in announced:
                raise BadPacket("cpg too many processes", f"node {sender}")
            announced.add((entry.group, entry.pid))

    def announcers(self) -> list[NodeId]:
        """Nodes that have announced something, ascending."""
        return sorted(self._announced)

    def announced_by(self, nodeid: NodeId) -> set[tuple[bytes, int]]:
        """The (group, pid) pairs that the node has announced."""
        return self._announced.get(nodeid, set())
