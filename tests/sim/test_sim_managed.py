"""Managed clusters in the virtual world: the configuration is changed while everything fails (chapter "Replicated
configuration")."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest

from totemd.errors import ServiceError
from totemd.sim.checkers import check_all
from totemd.sim.faults import PRESETS
from totemd.sim.history import ChangeAnswered, End, Ended, Limits, QuorumChanged, VersionInForce
from totemd.sim.run import Outcome, quorum_gives_up, run_seed, settle_bound_s
from totemd.sim.schedule import decode_schedule
from totemd.sim.world import World

MANAGED = PRESETS["managed"]


def play(*actions: str, nodes: int = 3, calm_s: float = 3.0) -> Outcome:
    """A managed cluster on a perfect network; nothing may be broken."""
    starts = [f"at 0 start {nodeid}" for nodeid in range(1, nodes + 1)]
    options = ["totem token 300", "totem token_coefficient 0", f"totem cluster_id {'c1' * 16}"]
    lines = ["seed 1", f"nodes {nodes}", *options, "totem crypto_cipher none", *starts]
    lines += [f"at {action}" for action in actions]
    schedule = replace(decode_schedule("\n".join([*lines, f"calm {calm_s}"])))
    outcome = run_seed(1, nodes=(nodes, nodes), faults=MANAGED, schedule=schedule)
    assert outcome.violations == []
    return outcome


def words(outcome: Outcome) -> list[str]:
    return [event.word for event in outcome.history if isinstance(event, ChangeAnswered)]


def versions(outcome: Outcome, node: int) -> list[int]:
    return [event.version for event in outcome.history if isinstance(event, VersionInForce) and event.node == node]


@pytest.mark.parametrize("seed", range(12))
def test_versions_are_one_history_whatever_fails(seed: int) -> None:
    assert run_seed(seed, nodes=(2, 5), faults=MANAGED).violations == []


@pytest.mark.parametrize("stall", ["pause 2 5", "stall 2 5", "slowdisk 2 5", "slow 2 200 3"])
@pytest.mark.parametrize("at_s", [1.0, 1.003, 1.01, 1.03])
def test_r12_one_member_stalled_for_any_time(stall: str, at_s: float) -> None:
    outcome = play("1 edit 1 600 2", f"{at_s} {stall}")
    assert words(outcome)[0] in ("accepted", "refused")


def test_r05_the_version_rises_once_with_each_commit() -> None:
    outcome = play(*(f"{1 + 0.9 * number} edit {1 + number % 3} {400 + number} 2" for number in range(3)), calm_s=4.0)
    assert words(outcome) == ["accepted"] * 3
    for node in (1, 2, 3):
        assert versions(outcome, node) == [1, 2, 3, 4]


def test_a_text_that_one_host_refuses_is_in_force_nowhere() -> None:
    outcome = play("0.9 dislike 3 0.5", "1 edit 1 600 2")
    assert words(outcome) == ["refused"]
    assert [versions(outcome, node) for node in (1, 2, 3)] == [[1]] * 3


def test_quorum_is_not_lost_by_changes_that_are_refused() -> None:
    outcome = play("0.9 dislike 3 2", "1 edit 1 600 2", "1.2 revote 1 2 2", "1.4 unlist 2 1", "1.6 edit 1 1 2")
    assert set(words(outcome)) == {"refused"}
    verdicts = [event.quorate for event in outcome.history if isinstance(event, QuorumChanged) and event.time > 0.9]
    assert False not in verdicts


def test_who_is_taken_out_ends_and_counts_no_more() -> None:
    outcome = play("1 unlist 1 3", "2 crash 2 1", "2.5 start 2", calm_s=3.5)
    assert words(outcome) == ["accepted"]
    (ended,) = [event for event in outcome.history if isinstance(event, Ended) and event.node == 3]
    assert ended.how is End.LEAVE
    assert "taken out" in ended.reason


def test_who_was_away_when_it_was_taken_out_disturbs_nobody() -> None:
    """R08, on an open ring: expected votes and ring ids are the others' business alone."""
    outcome = play("1 crash 4 1", "3 unlist 1 4", "4 start 4", nodes=4, calm_s=6.0)
    assert words(outcome) == ["accepted"]
    changes = [event for event in outcome.history if isinstance(event, QuorumChanged) and event.node == 1]
    assert not [event for event in changes if event.time > 4.0]
    assert all(event.quorate for event in changes if event.time > 1.0)


def test_votes_that_change_beside_a_tie_breaker_are_known_to_give_up_quorum() -> None:
    lines = ["seed 1", "nodes 2", f"totem cluster_id {'c1' * 16}", "quorum auto_tie_breaker 1", "quorum wait_for_all 1"]
    kept = decode_schedule("\n".join([*lines, "at 1 edit 1 600 2", "calm 3"]))
    changed = decode_schedule("\n".join([*lines, "at 1 revote 1 2 0", "calm 3"]))
    assert (quorum_gives_up(kept), quorum_gives_up(changed)) == ("", "votes changed with auto_tie_breaker")


def poll_device(world: World) -> None:
    """An honest quorum device: it votes for who lives, in one ring at a time, and remembers nothing."""
    for life in world.living:
        assert life.node.votequorum is not None
        device = life.node.votequorum.device
        # It comes too early now and then: to be registered, or to know the ring.
        with suppress(ServiceError):
            if device.registered:
                life.call(partial(device.poll, b"Q", True, device.ring))
            else:
                life.call(partial(device.register, b"Q", lambda error: None))
    world.at(world.now + 0.02, poll_device, world)


def test_components_that_a_device_makes_quorate_one_after_the_other_decide_on_nothing() -> None:
    options = ["totem token 300", "totem token_coefficient 0", f"totem cluster_id {'c1' * 16}"]
    lines = ["seed 1", "nodes 2", *options, "totem crypto_cipher none", "at 0 start 1", "at 0 start 2"]
    lines += ["at 1.5 crash 2 1", "at 3 edit 1 600 30", "at 5 crash 1 1", "at 5.2 start 2", "at 8 edit 2 900 30"]
    schedule = decode_schedule("\n".join([*lines, "at 10.5 start 1", "calm 13"]))
    world = World(replace(schedule, quorum=(("device {\n  model", "net\n  votes: 1\n }"),)))
    world.at(0.3, poll_device, world)
    world.run(settle_s := settle_bound_s(schedule))
    assert check_all(world.history, Limits(settle_s=settle_s)) == []
    quorate = {event.members for event in world.history if isinstance(event, QuorumChanged) and event.quorate}
    assert {(1,), (2,)} <= quorate
    assert not [e for e in world.history if isinstance(e, VersionInForce) and e.version > 1 and e.time < 10.5]
