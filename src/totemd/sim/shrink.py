"""Makes a failing schedule small: whatever is not needed for the same promise to be broken is taken away.

Delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002) over the actions;
whole nodes, the network's faults and the options of the configuration file are tried as well.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

from totemd.sim.schedule import Action, Link, Schedule

Fails: TypeAlias = Callable[[Schedule], bool]
"""Whether a schedule still breaks the promise."""

RUNS_MAX = 400
"""How often a schedule is played at most while it is made smaller."""


def shrink(schedule: Schedule, fails: Fails, runs: int = RUNS_MAX) -> tuple[Schedule, int]:
    """The smallest schedule found that still fails, and how often one was played. `schedule` itself must fail."""
    shrinker = _Shrinker(schedule, fails, runs)
    shrinker.work()
    return shrinker.best, runs - shrinker.runs_left


class _Shrinker:
    def __init__(self, schedule: Schedule, fails: Fails, runs: int) -> None:
        self.best = schedule
        self.runs_left = runs
        self._fails = fails

    def work(self) -> None:
        """Go on until nothing more can be taken away, or the runs are used up."""
        while self.runs_left > 0:
            before = self.best
            self._fewer_nodes()
            self._fewer_actions()
            self._simpler()
            if self.best == before:
                return

    def _try(self, candidate: Schedule) -> bool:
        if self.runs_left <= 0 or candidate == self.best:
            return False
        self.runs_left -= 1
        if not self._fails(candidate):
            return False
        self.best = candidate
        return True

    def _fewer_nodes(self) -> None:
        while self.best.nodes > 1 and any(
            self._try(without_node(self.best, nodeid)) for nodeid in range(self.best.nodes, 0, -1)
        ):
            pass

    def _fewer_actions(self) -> None:
        """Take away the whole in parts, then smaller parts."""
        size = max(1, len(self.best.actions) // 2)
        while size and self.runs_left > 0:
            position = 0
            while position < len(self.best.actions):
                actions = self.best.actions
                if not self._try(replace(self.best, actions=actions[:position] + actions[position + size :])):
                    position += size
            size //= 2

    def _simpler(self) -> None:
        for candidate in _simplifications(self.best):
            # Each is made of the best one so far, so that they add up.
            self._try(candidate(self.best))


def _simplifications(schedule: Schedule) -> Iterator[Callable[[Schedule], Schedule]]:
    yield lambda best: replace(best, link=Link(delay_s=best.link.delay_s, jitter=best.link.jitter))
    for name in ("loss", "duplication", "late"):
        yield lambda best, name=name: replace(best, link=replace(best.link, **{name: 0.0}))  # type: ignore[misc]
    yield lambda best: replace(best, one_socket=0)
    yield lambda best: replace(best, votes=(1,) * best.nodes)
    for option in schedule.quorum:
        yield lambda best, option=option: replace(best, quorum=tuple(o for o in best.quorum if o != option))  # type: ignore[misc]
    for option in schedule.totem:
        if option[0] not in ("token", "token_coefficient"):
            yield lambda best, option=option: replace(best, totem=tuple(o for o in best.totem if o != option))  # type: ignore[misc]
    yield _one_message_each
    yield lambda best: replace(best, calm_s=max([0.0, *(action.at_s for action in best.actions)]))


def _one_message_each(schedule: Schedule) -> Schedule:
    def less(action: Action) -> Action:
        return replace(action, arguments=("1", "30", action.arguments[2])) if action.verb == "send" else action

    return replace(schedule, actions=tuple(map(less, schedule.actions)))


def without_node(schedule: Schedule, nodeid: int) -> Schedule:
    """The schedule of a cluster that lacks this node; those with higher ids move down by one."""

    def moved(word: str) -> str:
        return str(int(word) - (int(word) > nodeid))

    actions = []
    for action in schedule.actions:
        if action.node == nodeid:
            continue
        arguments: tuple[str, ...] | None = action.arguments
        if action.verb in ("split", "bridge"):
            arguments = _parts_without(action.arguments[0], nodeid, moved)
        elif action.verb == "oneway":
            arguments = _pairs_without(action.arguments[0], nodeid, moved)
        elif action.verb in ("vote", "revote", "unlist"):
            target, *number = action.arguments
            arguments = (moved(target), *number) if int(target) != nodeid else None
        if arguments is not None:
            actions.append(replace(action, node=action.node - (action.node > nodeid), arguments=arguments))
    votes = tuple(n for i, n in enumerate(schedule.votes, 1) if i != nodeid)
    return replace(
        schedule,
        nodes=schedule.nodes - 1,
        votes=votes if any(votes) else (1,) * len(votes),
        quorum=tuple(option for option in schedule.quorum if option[0] != "two_node" or schedule.nodes > 2),
        actions=tuple(actions),
    )


def _parts_without(text: str, nodeid: int, moved: Callable[[str], str]) -> tuple[str, ...] | None:
    parts = [[moved(word) for word in part.split(",") if word and int(word) != nodeid] for part in text.split("|")]
    kept = [",".join(part) for part in parts if part]
    return ("|".join(kept),) if len(kept) > 1 else None


def _pairs_without(text: str, nodeid: int, moved: Callable[[str], str]) -> tuple[str, ...] | None:
    pairs = [pair.split(">") for pair in text.split(",")]
    kept = [f"{moved(a)}>{moved(b)}" for a, b in pairs if nodeid not in (int(a), int(b))]
    return (",".join(kept),) if kept else None
