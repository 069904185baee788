"""What becomes of a node that is half in the cluster.

One that joins is listed and not counted: its votes count once it is a member, or its place goes. One that leaves has
given its votes back: it is taken out for good, and the others get a new key, as soon as it is gone. Votes change one at
a time: then every majority of before has a node in common with every majority of after.

Every node of a managed cluster has one of these. The lowest member of a quorate component that is wholly in it acts, so
it does not matter who let a node in or which node left, and whether that one is still there. It acts by proposing a
change; if nothing comes of it, it tries again. Whoever drives it calls `update` after every change of configuration,
membership or quorum, and `decide` when `next_deadline` has come.
"""

from collections.abc import Collection
from math import inf
from typing import Final, Literal

from totemd.cluster.joining import PATIENCE_S
from totemd.cluster.nodelist_text import JOINING_VOTES, LEAVING, drop_node, remove_node, set_votes, setting
from totemd.cluster.standing import is_leaving, joining_votes
from totemd.config.model import Configuration, NodeEntry
from totemd.errors import OperatorError
from totemd.ids import NodeId
from totemd.record import record

RETRY_S: Final = 1.0
"""After a proposal of which nothing came yet."""


class Overtaken(OperatorError):
    """Nothing is left to be done: the node is wholly in or out."""


@record
class Completion:
    """A change to propose about the node."""

    kind: Literal["count", "abort-join", "leave"]
    nodeid: NodeId
    name: str
    votes: int = 0
    joins: bool = False
    """For "count": how many votes it has then, and whether it gets more."""

    @property
    def what(self) -> str:
        """The change in words, for the history."""
        label = f"node {self.nodeid} ({self.name})"
        if self.kind == "count":
            verb = "joins" if self.joins else "has joined"
            return f"{label} {verb} with {self.votes} vote{'' if self.votes == 1 else 's'}"
        if self.kind == "leave":
            return f"{label} has left"
        return f"{label} was not seen within {PATIENCE_S} s of joining"

    def edit(self, text: str, version: int) -> str:
        """The new text, of a configuration of that version; OperatorError if the node is not listed any more, Overtaken
        if another change has settled meanwhile what becomes of it."""
        self._check_pending(text)
        if self.kind == "count":
            return set_votes(text, self.nodeid, self.votes, joins=self.joins)
        if self.kind == "leave":
            return remove_node(text, self.nodeid, version)
        return drop_node(text, self.nodeid)

    def _check_pending(self, text: str) -> None:
        if self.kind == "leave":
            pending = setting(text, self.nodeid, LEAVING) == "yes"
        else:
            votes = int(setting(text, self.nodeid, "quorum_votes") or 1)
            pending = setting(text, self.nodeid, JOINING_VOTES) is not None and votes == max(0, self.votes - 1)
        if not pending:
            raise Overtaken(f"another change has settled meanwhile what becomes of node {self.nodeid} ({self.name})")


class Completing:
    """One per node."""

    def __init__(self, me: NodeId) -> None:
        self._me = me
        self._due: list[tuple[float, Completion]] = []
        self._absent_since: dict[NodeId, float] = {}
        self._not_before = -inf

    def update(self, configuration: Configuration, members: Collection[NodeId], quorate: bool, now: float) -> None:
        """How things stand; `members` are those of the synchronized configuration."""
        half_in = {
            node.nodeid: node
            for node in configuration.nodes
            if joining_votes(configuration, node) is not None or is_leaving(configuration, node)
        }
        wholly_in = [nodeid for nodeid in members if nodeid not in half_in]
        self._due = []
        if not quorate or not wholly_in or self._me != min(wholly_in):
            # Whoever acts gives the node its whole time.
            self._absent_since = {}
            return
        absent = half_in.keys() - set(members)
        self._absent_since = {nodeid: self._absent_since.get(nodeid, now) for nodeid in absent}
        for node in half_in.values():
            self._plan(configuration, node)
        self._due.sort(key=lambda due: (due[0], due[1].nodeid))

    def next_deadline(self) -> float:
        """When `decide` has something; inf for never."""
        return max(self._due[0][0], self._not_before) if self._due else inf

    def decide(self, now: float) -> Completion | None:
        """The next change to propose, if one is due."""
        if now < self.next_deadline():
            return None
        self._not_before = now + RETRY_S
        return self._due[0][1]

    def _plan(self, configuration: Configuration, node: NodeEntry) -> None:
        nodeid, name = node.nodeid, node.name or node.address
        absent_since = self._absent_since.get(nodeid)
        if is_leaving(configuration, node):
            if absent_since is not None:
                self._due.append((-inf, Completion("leave", nodeid, name)))
        elif absent_since is not None:
            # Who has votes already has been a member: it stays, and gets the others when it comes back.
            if node.quorum_votes == 0:
                self._due.append((absent_since + PATIENCE_S, Completion("abort-join", nodeid, name)))
        else:
            wanted = joining_votes(configuration, node) or 0
            votes = min(wanted, node.quorum_votes + 1)
            self._due.append((-inf, Completion("count", nodeid, name, votes, joins=votes < wanted)))
