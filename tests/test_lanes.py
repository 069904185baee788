"""Tests that live in real time take turns; the others are spread over all workers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import lanes

ROOT = Path(__file__).parents[1]


def item(nodeid: str, *, fixtures: tuple[str, ...] = (), root: bool = False) -> Any:
    marker = pytest.mark.root if root else None
    return SimpleNamespace(nodeid=nodeid, fixturenames=fixtures, get_closest_marker=lambda name: marker)


def test_files_without_a_lane_are_units_and_a_lane_is_one() -> None:
    assert lanes.unit_of("tests/shell/test_a.py::test_a") == lanes.unit_of("tests/integration/test_b.py::test_b[1]")
    beside = lanes.unit_of("tests/integration/test_pacemaker.py::test_a")
    assert lanes.unit_of("tests/chaos/test_chaos.py::test_a") == beside != lanes.unit_of("tests/shell/test_a.py::a")
    assert lanes.unit_of("tests/wire/test_a.py::test_a[x::y]") == "tests/wire/test_a.py"


def test_lanes_come_first_and_then_what_takes_long() -> None:
    flood = "tests/integration/test_flood.py::a"
    names = ["tests/wire/a.py::a", "tests/sim/a.py::a", "tests/shell/a.py::a", "tests/integration/a.py::a", flood]
    assert sorted(names, key=lambda name: lanes.turn(item(name))) == names[::-1]


@pytest.mark.parametrize("needs", [{"root": True}, {"fixtures": ("make_loopback_lab",)}])
def test_daemons_without_a_lane_are_refused(needs: dict[str, Any]) -> None:
    with pytest.raises(pytest.UsageError, match="a lane"):
        lanes.turn(item("tests/wire/a.py::a", **needs))
    lanes.turn(item("tests/integration/a.py::a", **needs))


def test_every_beginning_belongs_to_a_test() -> None:
    assert [name for names in lanes.LANES.values() for name in names if not (ROOT / name).exists()] == []
    assert [name for name in lanes.LONG if not (ROOT / name).exists()] == []
