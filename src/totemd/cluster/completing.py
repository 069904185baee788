"""What becomes of a listed node that is not counted yet: its votes count once it is a member, or its place goes.

Every node of a managed cluster has one of these. The lowest member of a quorate component that is itself counted acts,
so it does not matter who let the node in, and whether that one is still there. It acts by proposing a change; if
nothing comes of it, it tries again. The shell or the simulator calls `update` after every change of configuration,
membership or quorum, and `decide` when `next_deadline` has come.
"""

from collections.abc import Collection
from math import inf
from typing import Final

from totemd.cluster.joining import PATIENCE_S, joining_votes
from totemd.cluster.nodelist_text import drop_node, set_votes
from totemd.config.model import Configuration
from totemd.ids import NodeId
from totemd.record import record

RETRY_S: Final = 1.0
"""After a proposal of which nothing came yet."""


@record
class Completion:
    """A change to propose: count the joining node, with `votes`, or take it out (None)."""

    nodeid: NodeId
    name: str
    votes: int | None

    @property
    def kind(self) -> str:
        """The change's kind."""
        return "abort-join" if self.votes is None else "count"

    @property
    def what(self) -> str:
        """The change in words, for the history."""
        if self.votes is None:
            return f"node {self.nodeid} ({self.name}) was not seen within {PATIENCE_S} s of joining"
        return f"node {self.nodeid} ({self.name}) has joined with {self.votes} vote{'' if self.votes == 1 else 's'}"

    def edit(self, text: str) -> str:
        """The new text; OperatorError if the node is not listed any more."""
        return drop_node(text, self.nodeid) if self.votes is None else set_votes(text, self.nodeid, self.votes)


class Completing:
    """One per node."""

    def __init__(self, me: NodeId) -> None:
        self._me = me
        self._pending: dict[NodeId, tuple[str, int]] = {}
        self._absent_since: dict[NodeId, float] = {}
        self._members: frozenset[NodeId] = frozenset()
        self._acting = False
        self._not_before = -inf

    def update(self, configuration: Configuration, members: Collection[NodeId], quorate: bool, now: float) -> None:
        """How things stand; `members` are those of the synchronized configuration."""
        pending = {
            node.nodeid: (node.name or node.address, votes)
            for node in configuration.nodes
            if (votes := joining_votes(configuration, node)) is not None
        }
        counted = [nodeid for nodeid in members if nodeid not in pending]
        self._acting = quorate and bool(counted) and self._me == min(counted)
        self._members = frozenset(members)
        if not self._acting:
            # Whoever acts gives the node its whole time.
            self._absent_since.clear()
        self._pending = pending
        for nodeid in pending:
            if nodeid in self._members:
                self._absent_since.pop(nodeid, None)
            elif self._acting:
                self._absent_since.setdefault(nodeid, now)
        for nodeid in self._absent_since.keys() - pending.keys():
            del self._absent_since[nodeid]

    def next_deadline(self) -> float:
        """When `decide` has something; inf for never."""
        if not self._acting or not self._pending:
            return inf
        if any(nodeid in self._members for nodeid in self._pending):
            return self._not_before
        return max(self._not_before, min(self._absent_since.values(), default=inf) + PATIENCE_S)

    def decide(self, now: float) -> Completion | None:
        """The next change to propose, if one is due."""
        if not self._acting or now < self._not_before:
            return None
        for nodeid, (name, votes) in sorted(self._pending.items()):
            if nodeid in self._members:
                self._not_before = now + RETRY_S
                return Completion(nodeid, name, votes)
            if now >= self._absent_since.get(nodeid, inf) + PATIENCE_S:
                self._not_before = now + RETRY_S
                return Completion(nodeid, name, None)
        return None

    def proposed(self, now: float) -> None:
        """The proposal has come to its end, well or not: the next one may follow."""
        self._not_before = min(self._not_before, now)

    def failed(self, now: float) -> None:
        """Nothing came of the proposal; not again at once."""
        self._not_before = now + RETRY_S
