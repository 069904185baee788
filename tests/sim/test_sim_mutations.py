"""Planted faults are found: the simulator makes happen what brings them out, and the checkers see it.

The table in protocol/9-proof.md says in which seed each fault showed; that one is tried first. Where it shows there no
more (the code or the schedules have changed), it has to be found in some other seed, and the table is to be made anew:
`python tests/lab/mutations.py`.
"""

from __future__ import annotations

from collections import Counter

import pytest

from mutations import MUTATIONS, Mutation, broken, documented, hunt
from totemd.sim.checkers import ALL

ROWS = documented()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_planted_fault_is_found(mutation: Mutation) -> None:
    _, properties, seeds = ROWS[mutation.name]
    assert seeds <= mutation.seeds
    if properties & broken(mutation, seeds - 1) and not broken(mutation, seeds - 1, fault=False):
        return
    assert hunt(mutation) is not None


def test_the_table_has_each_fault_once() -> None:
    assert list(ROWS) == [mutation.name for mutation in MUTATIONS]
    assert [row[0] for row in ROWS.values()] == [mutation.package for mutation in MUTATIONS]


def test_there_are_faults_everywhere() -> None:
    counts = Counter(mutation.package for mutation in MUTATIONS)
    assert sum(counts.values()) >= 20
    assert counts.keys() >= {"ring", "groups", "sync", "cpg", "votequorum"}


def test_what_finds_a_fault_is_a_property() -> None:
    names = {checker.name for checker in ALL} | {"settles", "no exception escapes"}
    assert {name for mutation in MUTATIONS for name in mutation.finds} <= names
