"""Tests with real nodes are played again when a real node aborts by itself, and at no other failure."""

import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from totemd_lab.upstream import ABORT, ATTEMPTS, again_when_a_real_node_aborts


@pytest.mark.parametrize(("log", "plays"), [(f"corosync: Assertion `range < {ABORT}.", ATTEMPTS), ("fine", 1)])
def test_played_again_only_after_an_abort(log: str, plays: int) -> None:
    played = []

    def make_lab(kinds: str, settings: Any = None) -> Any:
        node = SimpleNamespace(log_text=lambda whole: log)
        return SimpleNamespace(of_kind=lambda kind: [node], close=lambda: None)

    @again_when_a_real_node_aborts
    def scenario(make_lab: Any) -> None:
        played.append(make_lab("CT"))
        raise AssertionError("did not form")

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(AssertionError, match="did not form"):
            scenario(make_lab=make_lab)
    assert len(warned) == plays - 1
    assert len(played) == plays
