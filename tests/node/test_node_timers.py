"""The services' timers: once each, in the order of their deadlines, whatever their actions do to other timers."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.node.timers import Timers


@pytest.fixture
def timers() -> Timers:
    return Timers()


def test_runs_once_when_due(timers: Timers) -> None:
    ran: list[str] = []
    timers.set("one", 5.0, lambda: ran.append("one"))
    assert timers.next_deadline == 5.0
    timers.run(4.9)
    assert ran == []
    timers.run(5.0)
    timers.run(6.0)
    assert ran == ["one"]
    assert timers.next_deadline == inf


def test_set_again_replaces(timers: Timers) -> None:
    ran: list[str] = []
    timers.set("one", 5.0, lambda: ran.append("early"))
    timers.set("one", 9.0, lambda: ran.append("late"))
    timers.run(6.0)
    assert ran == []
    timers.run(9.0)
    assert ran == ["late"]


def test_cancelled_does_not_run(timers: Timers) -> None:
    ran: list[str] = []
    timers.set("one", 5.0, lambda: ran.append("one"))
    timers.cancel("one")
    timers.cancel("never set")
    assert timers.next_deadline == inf
    timers.run(9.0)
    assert ran == []


def test_action_may_cancel_what_is_due_after_it(timers: Timers) -> None:
    ran: list[str] = []
    timers.set("first", 1.0, lambda: timers.cancel("second"))
    timers.set("second", 2.0, lambda: ran.append("second"))
    timers.run(3.0)
    assert ran == []
    assert timers.next_deadline == inf


def test_action_may_put_off_what_is_due_after_it(timers: Timers) -> None:
    ran: list[str] = []
    timers.set("first", 1.0, lambda: timers.set("second", 8.0, lambda: ran.append("second")))
    timers.set("second", 2.0, lambda: ran.append("too early"))
    timers.run(3.0)
    assert ran == []
    assert timers.next_deadline == 8.0


def test_timer_that_sets_itself_runs_once_per_turn(timers: Timers) -> None:
    """Else one that is always due would keep the node from everything else."""
    ran: list[int] = []

    def again() -> None:
        ran.append(1)
        timers.set("again", 0.0, again)

    timers.set("again", 0.0, again)
    timers.run(1.0)
    assert len(ran) == 1
    assert timers.next_deadline == 0.0


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 10), max_size=12), st.lists(st.floats(0, 10), max_size=6))
def test_all_run_in_order_of_their_deadlines(deadlines: dict[str, float], steps: list[float]) -> None:
    timers = Timers()
    ran: list[str] = []
    for name, deadline in deadlines.items():
        timers.set(name, deadline, lambda name=name: ran.append(name))  # type: ignore[misc]
    for now in [*sorted(steps), 10.0]:
        timers.run(now)
        assert timers.next_deadline == min((deadlines[name] for name in deadlines.keys() - set(ran)), default=inf)
        assert all(deadlines[name] <= now for name in ran)
    assert ran == sorted(deadlines, key=lambda name: (deadlines[name], name))
