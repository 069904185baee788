"""The replicated table of processes: who is in which group, the same on every member of the ring.

It changes only when something is delivered in the total order, so its bounds drop the same entries everywhere.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator

from totemd.errors import BadPacket
from totemd.ids import NodeId
from totemd.limits import CPG_PROCESSES_MAX, CPG_PROCESSES_PER_NODE_MAX
from totemd.services.cpg.events import CpgMember


def _place(member: CpgMember) -> tuple[NodeId, int]:
    return member.nodeid, member.pid


class _Group:
    """One group's members, ascending, and how many of them each node has."""

    __slots__ = ("counts", "known", "members")

    def __init__(self) -> None:
        self.members: list[CpgMember] = []
        self.known: set[tuple[NodeId, int]] = set()
        self.counts: dict[NodeId, int] = {}


class ProcessTable:
    """(group, nodeid, pid) triples, in the orders that the service needs."""

    def __init__(self) -> None:
        self._groups: dict[bytes, _Group] = {}
        self._per_node: dict[NodeId, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def __contains__(self, triple: tuple[bytes, NodeId, int]) -> bool:
        group = self._groups.get(triple[0])
        return group is not None and triple[1:] in group.known

    def __iter__(self) -> Iterator[tuple[NodeId, int, bytes]]:
        """All (nodeid, pid, group), ascending."""
        return iter(sorted((*process, name) for name, group in self._groups.items() for process in group.known))

    def node_in_group(self, name: bytes, nodeid: NodeId) -> bool:
        """Whether any process of the node is in the group."""
        group = self._groups.get(name)
        return group is not None and nodeid in group.counts

    def count_of(self, nodeid: NodeId) -> int:
        """How many entries the node has."""
        return self._per_node.get(nodeid, 0)

    def groups(self) -> list[bytes]:
        """The names of all groups that have members, ascending bytewise."""
        return sorted(self._groups)

    def groups_by_age(self) -> list[bytes]:
        """The same names, the group that has had members for longest first."""
        return list(self._groups)

    def members(self, name: bytes) -> tuple[CpgMember, ...]:
        """The group's members ascending by (nodeid, pid); empty for an unknown group."""
        group = self._groups.get(name)
        return tuple(group.members) if group is not None else ()

    def add(self, name: bytes, nodeid: NodeId, pid: int) -> bool:
        """Add a process; False if it is there already. BadPacket when a bound is reached."""
        if (name, nodeid, pid) in self:
            return False
        if self.count_of(nodeid) >= CPG_PROCESSES_PER_NODE_MAX:
            raise BadPacket("cpg too many processes", f"node {nodeid}")
        if self._total >= CPG_PROCESSES_MAX:
            raise BadPacket("cpg too many processes", "in the cluster")
        group = self._groups.setdefault(name, _Group())
        group.known.add((nodeid, pid))
        insort(group.members, CpgMember(nodeid, pid), key=_place)
        group.counts[nodeid] = group.counts.get(nodeid, 0) + 1
        self._per_node[nodeid] = self.count_of(nodeid) + 1
        self._total += 1
        return True

    def remove(self, name: bytes, nodeid: NodeId, pid: int) -> bool:
        """Remove a process; False if it is not there."""
        group = self._groups.get(name)
        if group is None or (nodeid, pid) not in group.known:
            return False
        group.known.remove((nodeid, pid))
        del group.members[bisect_left(group.members, (nodeid, pid), key=_place)]
        _decrement(group.counts, nodeid)
        _decrement(self._per_node, nodeid)
        self._total -= 1
        if not group.known:
            del self._groups[name]
        return True


def _decrement(counts: dict[NodeId, int], nodeid: NodeId) -> None:
    counts[nodeid] -= 1
    if not counts[nodeid]:
        del counts[nodeid]
