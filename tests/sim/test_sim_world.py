"""The simulated world: its network, its hosts' clocks and disks, schedules and their shrinking, and that it sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.errors import ConfigError, OperatorError
from totemd.sim.faults import PRESETS, Faults, preset
from totemd.sim.generate import generate
from totemd.sim.history import Accepted, Calm, Configured, Delivered, End, Ended, GroupChanged, QuorumChanged, Started
from totemd.sim.host import Host
from totemd.sim.network import Network
from totemd.sim.run import Outcome, run_seed
from totemd.sim.schedule import Action, Link, Schedule, decode_schedule, encode_schedule
from totemd.sim.shrink import shrink, without_node
from totemd.sim.world import World
from totemd.totem.ring import Ring

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.txt"))
ALL = PRESETS["all"]


def schedule(*actions: str, nodes: int = 3, calm_s: float = 1.0, **options: object) -> Schedule:
    """A schedule of a perfect network on which all nodes start at once."""
    starts = [f"at 0 start {nodeid}" for nodeid in range(1, nodes + 1)]
    lines = ["seed 1", f"nodes {nodes}", "totem token 300", "totem token_coefficient 0", *starts]
    lines += [f"at {action}" for action in actions]
    return replace(decode_schedule("\n".join([*lines, f"calm {calm_s}"])), **options)  # type: ignore[arg-type]


def play(*actions: str, nodes: int = 3, calm_s: float = 1.0) -> Outcome:
    """Play it; nothing may be broken."""
    outcome = run_seed(1, nodes=(nodes, nodes), faults=ALL, schedule=schedule(*actions, nodes=nodes, calm_s=calm_s))
    assert outcome.violations == []
    return outcome


# Schedules


@given(st.integers(0, 10_000), st.sampled_from(sorted(PRESETS)), st.integers(1, 64))
def test_text_of_a_schedule_gives_the_schedule(seed: int, faults: str, nodes: int) -> None:
    made = generate(seed, (1, nodes), PRESETS[faults])
    assert decode_schedule(encode_schedule(made)) == made


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("at 1 explode 2", "unknown verb 'explode'"),
        ("at 1 crash 2", "crash has 2 arguments, not 1"),
        ("at x start 1", "'x' where a number"),
        ("at 1 start 9", "there are only 3 nodes"),
        ("at 1 split 1,a|2", "'a' where a number"),
        ("at 1 loss -1", "'-1' where a number"),
        ("votes 1 2", "votes are needed for 3 nodes"),
        ("link speed 3", "no statement of a schedule"),
        ("nodes 65", "from 1 to 64"),
    ],
)
def test_wrong_schedules_are_refused_by_line(line: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word.replace("(", r"\(")):
        decode_schedule(f"seed 1\nnodes 3\ncalm 1\n{line}\n", "mine")


def test_a_schedule_without_a_calm_is_refused() -> None:
    with pytest.raises(ConfigError, match="calm must be given"):
        decode_schedule("nodes 3\n")


@given(st.integers(0, 2000), st.integers(2, 9), st.data())
def test_a_schedule_without_a_node_is_a_schedule(seed: int, nodes: int, data: st.DataObject) -> None:
    made = generate(seed, (nodes, nodes), ALL)
    smaller = without_node(made, data.draw(st.integers(1, nodes)))
    assert smaller.nodes == nodes - 1
    assert all(action.node < nodes for action in smaller.actions)
    assert decode_schedule(encode_schedule(smaller)) == smaller


def test_presets_have_names() -> None:
    assert preset("none") == Faults()
    with pytest.raises(OperatorError, match="there are none, loss"):
        preset("some")


# The surroundings


def test_a_split_lets_nothing_pass_and_heals() -> None:
    network = Network(1, 3, Link())
    network.split("1,2|3")
    assert network.arrivals(1, 2, 0.0)
    assert not network.arrivals(1, 3, 0.0)
    network.bridge("1|2|3")
    assert network.arrivals(2, 3, 0.0)
    assert network.arrivals(1, 2, 0.0)
    assert not network.arrivals(3, 1, 0.0)
    network.heal()
    network.cut("1>2")
    assert not network.arrivals(1, 2, 0.0)
    assert network.arrivals(2, 1, 0.0)


def test_packets_are_lost_doubled_and_late_in_shares() -> None:
    network = Network(1, 2, Link(loss=0.3, duplication=0.2, late=0.1))
    arrivals = [network.arrivals(1, 2, 0.0) for _ in range(4000)]
    assert 0.25 < sum(not found for found in arrivals) / 4000 < 0.35
    assert 0.1 < sum(len(found) == 2 for found in arrivals) / 4000 < 0.2
    late = [at for found in arrivals for at in found if at > 0.005]
    assert late
    assert max(late) > 0.1


def test_packets_stay_in_order_where_they_must() -> None:
    network = Network(1, 2, Link(jitter=0.9, late=0.3, reordering=0))
    arrivals = [network.arrivals(1, 2, index / 1000)[0] for index in range(500)]
    assert arrivals == sorted(arrivals)


@given(
    st.lists(st.tuples(st.sampled_from(("rate", "jump", "stand", "wait", "calm")), st.floats(0.1, 3.0)), max_size=20)
)
def test_a_clock_never_goes_back(changes: list[tuple[str, float]]) -> None:
    host = Host(1, 0)
    now = shown = 0.0
    for verb, amount in changes:
        match verb:
            case "rate":
                host.set_rate(amount, now)
            case "jump":
                host.jump(amount)
            case "stand":
                host.stand(amount, now)
            case "calm":
                host.calm(now)
            case _:
                now += amount
        assert host.clock(now) >= shown
        shown = host.clock(now)


def test_a_standing_clock_goes_on_where_it_stood() -> None:
    host = Host(1, 0)
    assert host.clock(5.0) == 5.0
    host.stand(2.0, 5.0)
    assert host.clock(7.0) == 5.0
    assert host.clock(8.0) == 6.0


def test_a_clock_that_drifts_knows_the_moment() -> None:
    host = Host(1, 0)
    host.set_rate(1.25, 4.0)
    assert host.clock(host.moment(9.0)) == pytest.approx(9.0)
    assert host.moment(9.0) == pytest.approx(8.0)


# Whole runs


def test_nodes_form_a_ring_and_deliver() -> None:
    outcome = play("0.6 send 1 3 100 0", "0.7 send 2 2 20000 1")
    delivered = [event for event in outcome.history if isinstance(event, Delivered)]
    assert len(delivered) == 15
    assert len({event.digest for event in delivered}) == 5
    kinds = {type(event) for event in outcome.history}
    assert kinds >= {Started, Configured, GroupChanged, QuorumChanged, Accepted, Calm}
    calm = next(event for event in outcome.history if isinstance(event, Calm))
    assert calm.nodes == (1, 2, 3)


def test_a_crash_is_noticed_and_the_node_returns_as_another_life() -> None:
    outcome = play("0.6 crash 3 1", "1.5 start 3", calm_s=2.0)
    assert [event.how for event in outcome.history if isinstance(event, Ended)] == [End.CRASH]
    started = [event for event in outcome.history if isinstance(event, Started) and event.node == 3]
    assert [event.life for event in started] == [3, 4]
    assert started[0].stored_ring_seq is None
    assert started[1].stored_ring_seq
    shrunk = [e for e in outcome.history if isinstance(e, Configured) and e.life == 1 and e.members == (1, 2)]
    assert shrunk


def test_a_leave_is_no_crash() -> None:
    outcome = play("0.6 leave 3")
    ended = [event for event in outcome.history if isinstance(event, Ended)]
    assert [(event.node, event.how) for event in ended] == [(3, End.LEAVE)]


def test_a_disk_that_refuses_ends_the_node() -> None:
    outcome = play("0.6 baddisk 2", "0.7 split 1|2,3", calm_s=2.0)
    ended = [event for event in outcome.history if isinstance(event, Ended)]
    assert [(event.node, event.how) for event in ended] == [(2, End.EXIT)]


@pytest.mark.parametrize("phase", ["gather", "commit", "recovery", "sync"])
def test_a_ghost_dies_where_it_should(phase: str) -> None:
    outcome = play("0.5 crash 3 1", f"0.9 ghost 3 {phase} 0", calm_s=2.0)
    reasons = [event.reason for event in outcome.history if isinstance(event, Ended)]
    assert reasons == ["killed", f"in phase {phase}"]


@pytest.mark.parametrize(
    "fault",
    [
        "0.6 pause 2 0.8",
        "0.6 stall 2 0.8",
        "0.6 jump 2 5",
        "0.6 drift 2 1.25",
        "0.6 slow 2 200 0.5",
        "0.6 slowdisk 2 0.4",
        "0.6 down 2 0.5",
        "0.6 choke 2 1.0 0.5",
        "0.6 loss 0.4",
        "0.6 split 1,2|3",
        "0.6 bridge 1|2|3",
        "0.6 oneway 1>2,2>3",
        "0.6 reload 1 600",
        "0.6 part 2",
        "0.6 expect 1 3",
        "0.6 vote 1 2 1",
    ],
)
def test_every_verb_can_be_survived(fault: str) -> None:
    play(fault, "0.5 send 1 5 30 1", "0.65 send 2 5 3000 0", "0.9 send 3 5 30 0", calm_s=1.5)


def test_an_interface_that_is_down_makes_a_node_alone() -> None:
    outcome = play("0.6 down 2 1.0", calm_s=2.0)
    alone = [e for e in outcome.history if isinstance(e, Configured) and e.node == 2 and e.members == (2,)]
    assert len(alone) >= 2  # at the start, and while it was away


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_was_broken_once(path: Path) -> None:
    again = decode_schedule(path.read_text(encoding="utf-8"), path.name)
    outcome = run_seed(again.seed, nodes=(1, 9), faults=ALL, schedule=again)
    assert outcome.violations == []


def test_who_was_split_off_before_a_change_is_back_soon() -> None:
    """It was within the bound before, too: half a minute later, by luck."""
    path = next(path for path in REGRESSIONS if path.stem == "split-off-before-commit")
    again = decode_schedule(path.read_text(encoding="utf-8"), path.name)
    settled_s = run_seed(again.seed, nodes=(1, 9), faults=ALL, schedule=again).settled_s
    assert settled_s is not None
    assert settled_s < 10


# That it sees


def test_an_exception_in_a_node_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Ring, now: float) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(Ring, "handle_timer", broken)
    outcome = run_seed(1, nodes=(2, 2), faults=PRESETS["none"])
    found = next(violation for violation in outcome.violations if violation.property == "no exception escapes")
    assert "ZeroDivisionError: planted (test_sim_world.py" in found.text


def test_a_node_that_stays_alone_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("totemd.sim.run.SETTLE_TOKENS", 4)
    monkeypatch.setattr(Network, "calm", lambda network: None)
    again = schedule("0.1 split 1,2|3")
    outcome = run_seed(1, nodes=(3, 3), faults=ALL, schedule=again)
    assert {"settles", "one ring"} <= {violation.property for violation in outcome.violations}


def test_actions_that_do_not_matter_are_shrunk_away() -> None:
    made = generate(7, (5, 5), ALL)
    culprit = Action(0.5, "crash", 4, ("1",))
    made = replace(made, actions=(*made.actions, culprit))

    def fails(candidate: Schedule) -> bool:
        return any(action.verb == "crash" and action.at_s == 0.5 for action in candidate.actions)

    small, runs = shrink(made, fails, 500)
    assert runs <= 500
    assert (small.nodes, len(small.actions)) == (1, 1)
    assert small.link == Link(delay_s=made.link.delay_s, jitter=made.link.jitter)


def test_shrinking_keeps_to_its_budget() -> None:
    calls = 0

    def fails(candidate: Schedule) -> bool:
        nonlocal calls
        calls += 1
        return False

    made = generate(7, (5, 5), ALL)
    small, runs = shrink(made, fails, 17)
    assert (small, runs, calls) == (made, 17, 17)


def test_a_world_goes_on_without_end_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("totemd.sim.world.STEPS_MAX", 50)
    world = World(schedule())
    world.run(5.0)
    assert [violation.property for violation in world.violations] == ["bounded work"]


def test_a_node_without_votes_neither_makes_quorum_nor_costs_it() -> None:
    """A second node that has none is not missed when it is gone, and alone it is nobody."""
    made = replace(schedule("0.6 split 1|2", "1.6 heal", nodes=2, calm_s=1.7), votes=(1, 0))
    outcome = run_seed(1, nodes=(2, 2), faults=PRESETS["none"], schedule=made)
    assert outcome.violations == []
    said = {
        node: [e.quorate for e in outcome.history if isinstance(e, QuorumChanged) and e.node == node] for node in (1, 2)
    }
    assert all(said[1][1:])
    assert said[2][-1]
    alone = [e for e in outcome.history if isinstance(e, QuorumChanged) and e.node == 2 and e.members == (2,)]
    assert alone
    assert not any(e.quorate for e in alone)
