"""Which tests are run beside each other when there are several worker processes: `make test`, `pytest -n 3`.

Tests with daemons live in real time: they take turns in one lane, as if they were alone. Chaos has a lane of its own,
for it mostly waits. All others only compute: whoever is free takes the next file, at the lowest priority, so that
daemons do not wait for it.
"""

import os
from typing import Any, Final

import pytest

LANES: Final = {
    "tests/bench/": "real time",
    "tests/cli/": "real time",
    "tests/client/": "real time",
    "tests/integration/": "real time",
    "tests/shell/": "real time",
    "tests/chaos/test_chaos.py": "chaos",
}
"""By the beginning of a test's name. Whatever starts daemons or waits for a clock belongs here."""

LABS: Final = frozenset({"make_lab", "make_loopback_lab"})
"""Fixtures that start daemons."""

LONG: Final = ("tests/compiled/", "tests/sim/")
"""What computes longest is handed out before the rest, so that nobody is left with it at the end."""

PRIORITY: Final = os.getpriority(os.PRIO_PROCESS, 0)
NICE: Final = 19


def is_worker() -> bool:
    """Whether this process is one of several."""
    return "PYTEST_XDIST_WORKER" in os.environ


def lane_of(nodeid: str) -> str | None:
    """The lane of a test, or None if it only computes."""
    return next((lane for beginning, lane in LANES.items() if nodeid.startswith(beginning)), None)


def unit_of(nodeid: str) -> str:
    """What is handed out together with this test: its lane, or its file."""
    return lane_of(nodeid) or nodeid.partition("::")[0]


def turn(item: pytest.Item) -> int:
    """What is handed out first. Raises UsageError for a test whose daemons would run beside those of others."""
    needs_lane = item.get_closest_marker("root") or not LABS.isdisjoint(getattr(item, "fixturenames", ()))
    if needs_lane and lane_of(item.nodeid) is None:
        raise pytest.UsageError(f"{item.nodeid} starts daemons: give its directory a lane in tests/lab/lanes.py")
    if lane_of(item.nodeid) is not None:
        return 0
    return 1 if item.nodeid.startswith(LONG) else 2


def set_priority(item: pytest.Item) -> None:
    """Give this process, and what it starts, the priority of the test that comes. Nobody but root could go back."""
    if is_worker() and os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, NICE if lane_of(item.nodeid) is None else PRIORITY)


def scheduler(config: pytest.Config, log: object) -> Any:
    """What hands out lanes and files, in the order of `turn`."""
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False
    made = LoadScopeScheduling(config, log)
    made._split_scope = unit_of
    return made
