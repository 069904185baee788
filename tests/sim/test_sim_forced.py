"""Expected votes by force: never two quorate components without a yes, and in the end all is as configured."""

from dataclasses import replace
from random import Random

import pytest

from totemd.services.votequorum import forced
from totemd.sim.faults import PRESETS
from totemd.sim.generate import generate
from totemd.sim.run import Outcome, run_seed
from totemd.sim.schedule import Action, Schedule


def with_force(seed: int, preset: str, *, yes: bool) -> Schedule:
    """A generated schedule without quorum options in which nodes ask for other expected votes again and again. The
    last node is gone for good from the beginning of half of them: only the time's end brings its votes back."""
    faults = PRESETS[preset]
    schedule = generate(seed, (2, 5), faults)
    random = Random(f"forced {seed}")
    total = sum(schedule.votes)
    kept = [action for action in schedule.actions if action.verb not in ("expect", "vote", "force", "reload")]
    if seed % 2:
        gone = schedule.nodes
        kept = [action for action in kept if action.node != gone or action.verb not in ("start", "ghost")]
    for _ in range(8):
        votes = max(1, total - random.randint(1, 3))
        words = (str(votes), str(random.randint(1, 3)), str(int(yes)))
        kept.append(Action(random.uniform(0.1, schedule.calm_s), "force", random.randint(1, schedule.nodes), words))
    return replace(schedule, quorum=(), actions=tuple(sorted(kept, key=lambda action: action.at_s)))


def play(seed: int, preset: str, *, yes: bool) -> Outcome:
    return run_seed(seed, nodes=(2, 5), faults=PRESETS[preset], schedule=with_force(seed, preset, yes=yes))


@pytest.mark.parametrize("preset", ["partitions", "crashes", "all"])
def test_without_a_yes_no_second_component_is_quorate(preset: str) -> None:
    """R13, its first half: the checker "one quorate" reads these histories."""
    for seed in range(8):
        assert play(seed, preset, yes=False).violations == []


@pytest.mark.parametrize("preset", ["partitions", "crashes", "all"])
def test_what_is_forced_ends_by_itself(preset: str) -> None:
    """R13, its second half: the run settles, and then nobody's expected votes are forced, nor other than configured."""
    for seed in range(8):
        outcome = play(seed, preset, yes=True)
        assert outcome.violations == []


def test_a_force_without_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forced.ForcedExpectation, "_revert", lambda self: None)
    found = {violation.property for seed in range(8) for violation in play(seed, "partitions", yes=True).violations}
    assert found & {"settles", "force ends"}
