"""Cold start in virtual time: nodes started minutes apart, in any order, have quorum once its votes are there.

What waits for quorum (totemd-quorum.target, `totemctl cluster wait-quorum`) looks at nothing but this.
"""

from random import Random

import pytest

from totemd.sim.faults import PRESETS
from totemd.sim.history import QuorumChanged, Started
from totemd.sim.run import run_seed, settle_bound_s
from totemd.sim.schedule import Action, Link, Schedule

GAPS_S = (0.0, 0.05, 1.0, 60.0, 600.0)
"""The longest gap of a run is one of these."""


def cold_start(seed: int) -> Schedule:
    random = Random(f"cold start {seed}")
    nodes = random.randint(2, 7)
    votes = tuple(random.choice((1, 1, 1, 1, 2, 3)) for _ in range(nodes))
    longest_s = GAPS_S[seed % len(GAPS_S)]
    now = 0.0
    actions = []
    for nodeid in random.sample(range(1, nodes + 1), nodes):
        now += random.uniform(0, longest_s)
        actions.append(Action(now, "start", nodeid))
    return Schedule(
        seed=seed,
        nodes=nodes,
        votes=votes,
        link=Link(loss=random.choice((0.0, 0.01))),
        totem=(("token", "300"),),
        quorum=(),
        actions=tuple(actions),
        calm_s=now,
    )


@pytest.mark.parametrize("seed", range(10))
def test_quorum_comes_with_its_votes_and_never_before(seed: int) -> None:
    """R10: nothing guarded by wait-quorum starts before quorum, everything starts after; no upper time limit."""
    schedule = cold_start(seed)
    outcome = run_seed(seed, nodes=(2, 7), faults=PRESETS["none"], schedule=schedule)
    assert outcome.violations == []
    events = outcome.history
    started_at = {event.node: event.time for event in events if isinstance(event, Started)}
    assert len(started_at) == schedule.nodes
    quorum = sum(schedule.votes) // 2 + 1
    first_at: dict[int, float] = {}
    for event in events:
        if isinstance(event, QuorumChanged) and event.quorate:
            present = [node for node, time in started_at.items() if time <= event.time]
            assert sum(schedule.votes[node - 1] for node in present) >= quorum
            first_at.setdefault(event.node, event.time)
    assert first_at.keys() == started_at.keys()
    # Nobody waits longer than a ring takes, once the votes (and the node itself) are there.
    enough_at, votes = 0.0, 0
    for node, time in sorted(started_at.items(), key=lambda item: item[1]):
        if votes < quorum:
            votes, enough_at = votes + schedule.votes[node - 1], time
    for node, time in first_at.items():
        assert time - max(enough_at, started_at[node]) <= settle_bound_s(schedule)
