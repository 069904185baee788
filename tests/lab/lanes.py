"""Which tests are run beside each other when there are several worker processes: `make test`, `pytest -n 4`.

Tests with daemons live in real time, and mostly wait: they are in three lanes, and those of a lane take turns in the
lane's order. All others only compute: whoever is free takes the next file, at the lowest priority, so that daemons do
not wait for it.
"""

import os
from typing import Any, Final

import pytest

LANES: Final = {
    "daemons": (
        # These two take all processors, which chaos in another lane does not mind.
        "tests/integration/test_flood.py",
        "tests/integration/test_many_nodes.py",
        "tests/integration/",
        "tests/shell/",
        "tests/client/",
        "tests/cli/",
    ),
    "beside corosync": (
        "tests/chaos/test_chaos.py",
        "tests/integration/test_cfg_beside_corosync.py",
        "tests/integration/test_cmap_beside_corosync.py",
        "tests/integration/test_libraries_beside_corosync.py",
        "tests/integration/test_library_probe.py",
        "tests/integration/test_pacemaker.py",
        "tests/integration/test_quorum_device.py",
        "tests/integration/test_tools_beside_corosync.py",
    ),
    "clusters": (
        "tests/packaging/",
        "tests/management/",
        "tests/bench/",
        "tests/integration/test_cluster_membership.py",
        "tests/integration/test_cluster_story.py",
        "tests/integration/test_cold_start.py",
        "tests/integration/test_managed_configuration.py",
        "tests/integration/test_service.py",
    ),
}
"""Beginnings of tests' names; the longest counts. Whatever starts daemons or waits for a clock belongs here."""

LABS: Final = frozenset({"make_lab", "make_loopback_lab"})
"""Fixtures that start daemons."""

LONG: Final = ("tests/compiled/", "tests/sim/")
"""What computes longest is handed out before the rest, so that nobody is left with it at the end."""

PRIORITY: Final = os.getpriority(os.PRIO_PROCESS, 0)
NICE: Final = min(19, PRIORITY + 19)


def is_worker() -> bool:
    """Whether this process is one of several."""
    return "PYTEST_XDIST_WORKER" in os.environ


def place_of(nodeid: str) -> tuple[str, int] | None:
    """The lane of a test and the place in it, or None if it only computes."""
    places = [
        (len(beginning), lane, number)
        for lane, beginnings in LANES.items()
        for number, beginning in enumerate(beginnings)
        if nodeid.startswith(beginning)
    ]
    return max(places)[1:] if places else None


def unit_of(nodeid: str) -> str:
    """What is handed out together with this test: its lane, or its file."""
    place = place_of(nodeid)
    return nodeid.partition("::")[0] if place is None else place[0]


def turn(item: pytest.Item) -> tuple[int, int]:
    """By this tests are sorted. Raises UsageError for a test whose daemons would run beside those of all others."""
    place = place_of(item.nodeid)
    if place is not None:
        return 0, place[1]
    if item.get_closest_marker("root") or not LABS.isdisjoint(getattr(item, "fixturenames", ())):
        raise pytest.UsageError(f"{item.nodeid} starts daemons: give its directory a lane in tests/lab/lanes.py")
    return (1 if item.nodeid.startswith(LONG) else 2), 0


def set_priority(item: pytest.Item) -> None:
    """Give this process, and what it starts, the priority of the test that comes. Nobody but root could go back."""
    if is_worker() and os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, NICE if place_of(item.nodeid) is None else PRIORITY)


def scheduler(config: pytest.Config, log: object) -> Any:
    """What hands out lanes and files, in the order of `turn`."""
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False
    made = LoadScopeScheduling(config, log)
    made._split_scope = unit_of
    return made
