"""Changes that clients of this node have proposed and that are not decided yet."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from totemd.cluster.change import Change
from totemd.services.changes.api import Outcome, OutcomeDone

PROPOSALS_MAX: Final = 16
WAIT_S: Final = 10.0
"""How long a proposal waits for its turn."""

DECIDE_S: Final = 40.0
"""How long it waits, once sent, until its client is told that nobody knows."""


@dataclass(slots=True, eq=False)
class Proposal:
    """`on_its_way`: sent, not delivered yet. `uncertain`: some node may have it, so it cannot be altered any more."""

    change: Change
    done: OutcomeDone
    deadline: float
    on_its_way: bool = False
    uncertain: bool = False


class Proposals:
    """In the order of their coming; only the first is sent."""

    def __init__(self) -> None:
        self._queue: deque[Proposal] = deque()

    def __bool__(self) -> bool:
        return bool(self._queue)

    @property
    def first(self) -> Proposal | None:
        """The one whose turn it is."""
        return self._queue[0] if self._queue else None

    def add(self, change: Change, done: OutcomeDone, now: float) -> None:
        """Queue a proposal, or answer at once that there are too many."""
        if len(self._queue) >= PROPOSALS_MAX:
            done(Outcome(False, why="too many changes are waiting; try again"))
        elif any(known.change.ident == change.ident for known in self._queue):
            done(Outcome(False, why="this change is being decided on already"))
        else:
            self._queue.append(Proposal(change, done, now + WAIT_S))

    def ring_changed(self) -> None:
        """What was on its way is lost, unless somebody has accepted it."""
        for proposal in self._queue:
            proposal.uncertain |= proposal.on_its_way
            proposal.on_its_way = False

    def finish(self, proposal: Proposal, outcome: Outcome) -> None:
        """Answer, and forget it."""
        self._queue.remove(proposal)
        proposal.done(outcome)

    def settle(self, change: Change, outcome: Outcome) -> None:
        """A change was decided on: whoever proposed it is told."""
        for proposal in list(self._queue):
            if proposal.change.ident == change.ident:
                self.finish(proposal, outcome)

    def all(self) -> list[Proposal]:
        """Every one, in order."""
        return list(self._queue)
