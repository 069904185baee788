"""One seed, played and checked."""

from typing import Final

from totemd.record import record
from totemd.sim.checkers import check_all
from totemd.sim.faults import Faults
from totemd.sim.generate import generate
from totemd.sim.history import History, Limits, Violation
from totemd.sim.schedule import Schedule
from totemd.sim.trace import Trace
from totemd.sim.world import World

SETTLE_TOKENS: Final = 30
"""Within so many token timeouts (the longest that is configured in the run) after the calm all is well: one ring of all
living nodes that has synchronized, and every message delivered."""

SETTLE_CHANGES_S: Final = 60.0
"""Where the configuration is replicated: proposals in doubt are waited for, and going back is made a version."""

SETTLE_PER_NODE_S: Final = 0.5
"""The same bound's part for each node: all of them may have to be believed dead one after the other."""


@record
class Outcome:
    """What became of a run."""

    seed: int
    schedule: Schedule
    history: History
    violations: list[Violation]
    trace_digest: str
    """Of the trace, if there was one."""
    steps: int
    """Turns of nodes."""
    packets: int
    virtual_s: float
    settled_s: float | None
    """How long after the calm all was well."""


def run_seed(
    seed: int,
    *,
    nodes: tuple[int, int],
    faults: Faults,
    schedule: Schedule | None = None,
    trace: Trace | None = None,
) -> Outcome:
    """Play the schedule of `seed`, or `schedule` instead of it, and check its history.

    ConfigError: the schedule's configuration is not valid. Nothing else is raised: what nodes do wrong, exceptions
    included, are violations.
    """
    if schedule is None:
        schedule = generate(seed, nodes, faults)
    bound_s = settle_bound_s(schedule)
    world = World(schedule, trace)
    world.run(bound_s)
    limits = Limits(quorum_gives_up=quorum_gives_up(schedule), settle_s=bound_s)
    violations = [*world.violations, *_own_checks(world), *check_all(world.history, limits)]
    return Outcome(
        seed=schedule.seed,
        schedule=schedule,
        history=world.history,
        violations=violations,
        trace_digest=trace.digest if trace is not None else "",
        steps=world.steps,
        packets=world.packets,
        virtual_s=world.now,
        settled_s=world.settled_s,
    )


def _own_checks(world: World) -> list[Violation]:
    """What a history does not show."""
    found = []
    if world.settled_s is None:
        text = f"not all is well {world.now - world.schedule.calm_s:.1f} s after the calm: {world.unfinished()}"
        found.append(Violation("settles", "MEM-25", text, world.now))
    elif not world.settled():
        text = f"what was well after {world.settled_s:.1f} s did not stay so: {world.unfinished()}"
        found.append(Violation("settles", "MEM-25", text, world.now))
    else:
        found += _expects_other_votes(world)
    ended = world.ended_unasked()
    if ended is not None:
        text = f"node {ended.node} (life {ended.life}) ended by itself: {ended.reason}"
        found.append(Violation("stays alive", "MEM-25", text, ended.time))
    return found


def _expects_other_votes(world: World) -> list[Violation]:
    """Where in the end, when nothing is forced any more, not all votes are expected, though nothing else was done that
    would change them for good."""
    schedule = world.schedule
    verbs = {action.verb for action in schedule.actions}
    if "force" not in verbs or verbs & {"expect", "vote"} or schedule.quorum:
        return []
    for life in world.living:
        assert life.node.votequorum is not None
        # With those of changes of votes; a simulated configuration gives no other number of its own.
        total = sum(life.node.configuration.votes.values())
        expected = life.node.votequorum.get_info().expected_votes
        if expected != total:
            text = f"node {life.nodeid} expects {expected} votes in the end, not the {total} configured"
            return [Violation("force ends", "VQ-16", text, world.now)]
    return []


def settle_bound_s(schedule: Schedule) -> float:
    """Within how many seconds after the calm all must be well."""
    reloads = (int(float(action.arguments[0])) for action in schedule.actions if action.verb in ("reload", "edit"))
    token_s = max([schedule.token_ms, *reloads]) / 1000
    forced_s = max((float(action.arguments[1]) for action in schedule.actions if action.verb == "force"), default=0.0)
    return (
        SETTLE_TOKENS * token_s
        + SETTLE_PER_NODE_S * schedule.nodes
        + forced_s
        + (SETTLE_CHANGES_S if schedule.managed else 0.0)
    )


def quorum_gives_up(schedule: Schedule) -> str:
    """Which option or request of this schedule lets two components be quorate at once; empty if none does.

    `two_node` makes one vote enough, so both halves of a partition have it. `last_man_standing` and `allow_downscale`
    lower the expected votes of those who stay, which those who left do not learn. `auto_tie_breaker` alone does not
    keep a node that was cut off earlier from remembering another breaker. Expected votes other than the sum of all
    votes, and votes other than configured, are known only where they were set, and forgotten at a restart. While votes
    change a half that wins a tie by the old ones may be apart from a majority by the new ones.
    """
    options = [key for key, value in schedule.quorum if value == "1"]
    given_up: list[str] = [key for key in ("two_node", "last_man_standing", "allow_downscale") if key in options]
    if "auto_tie_breaker" in options and "wait_for_all" not in options:
        given_up.append("auto_tie_breaker without wait_for_all")
    total = sum(schedule.votes)
    if any(action.verb == "expect" and float(action.arguments[0]) != total for action in schedule.actions):
        given_up.append("expected votes changed at run time")
    if any(action.verb == "force" and float(action.arguments[2]) for action in schedule.actions):
        given_up.append("expected votes forced")
    if any(action.verb == "vote" for action in schedule.actions):
        given_up.append("votes changed at run time")
    if "auto_tie_breaker" in options and any(action.verb in ("revote", "unlist") for action in schedule.actions):
        given_up.append("votes changed with auto_tie_breaker")
    return ", ".join(given_up)
