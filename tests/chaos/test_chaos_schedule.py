"""Schedules of faults: a function of the seed, bounded, and what they do to the network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd_chaos.network import rules_of
from totemd_chaos.schedule import Action, Fault, Terrain, draw_schedule

TERRAIN = Terrain("TCTCT", 0.6, anchor=1)
ADDRESSES = {node: f"10.78.0.{node}" for node in (1, 2, 3)}
ENDS = (Fault.KILL, Fault.LEAVE, Fault.STORM)


@given(st.text(max_size=20), st.floats(1.0, 120.0))
def test_a_schedule_is_drawn_from_its_seed_and_ends_in_time(seed: str, seconds: float) -> None:
    schedule = draw_schedule(seed, seconds, TERRAIN)
    assert schedule == draw_schedule(seed, seconds, TERRAIN)
    assert all(action.at_s > 0 and action.at_s + action.lasts_s <= seconds + 1e-9 for action in schedule)
    assert all(set(action.nodes) <= set(TERRAIN.nodes) for action in schedule)


def test_the_anchor_is_never_ended_and_real_nodes_keep_their_interface() -> None:
    schedule = draw_schedule("long", 5000.0, TERRAIN)
    assert {action.fault for action in schedule} == set(Fault)
    for action in schedule:
        assert TERRAIN.anchor not in action.nodes or action.fault not in ENDS
        if action.fault is Fault.INTERFACE:
            assert all(TERRAIN.kinds[node - 1] == "T" for node in action.nodes)


@pytest.mark.parametrize(
    ("fault", "nodes", "unheard"),
    [
        (Fault.SPLIT, (1,), {1: {2, 3}, 2: {1}, 3: {1}}),
        (Fault.BRIDGE, (1, 3), {1: {3}, 2: set(), 3: {1}}),
        (Fault.DEAF, (2, 1), {1: set(), 2: {1}, 3: set()}),
        (Fault.PAUSE, (2,), {1: set(), 2: set(), 3: set()}),
    ],
)
def test_who_does_not_hear_whom(fault: Fault, nodes: tuple[int, ...], unheard: dict[int, set[int]]) -> None:
    action = Action(0.0, 1.0, fault, nodes)
    for node, peers in unheard.items():
        rules = " ".join(rules_of(node, ADDRESSES, [action]))
        assert {peer for peer, address in ADDRESSES.items() if address in rules} == peers


def test_faults_add_up() -> None:
    faults = [
        Action(0.0, 1.0, Fault.DEAF, (1, 2)),
        Action(0.5, 1.0, Fault.DEAF, (1, 3)),
        Action(0.6, 1.0, Fault.LOSS, (1,), 20),
    ]
    loss, unheard = rules_of(1, ADDRESSES, faults)[::-1]
    assert "< 20" in loss
    assert "10.78.0.2, 10.78.0.3" in unheard
