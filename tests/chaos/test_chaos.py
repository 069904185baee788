"""Chaos, short: five real daemons under faults, judged by the simulator's checkers. `make chaos` does it for longer."""

import os
import secrets

import pytest

from totemd_chaos.results import summary
from totemd_chaos.run import MIXED, PURE, Plan, Run

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]

IN_CI = os.environ.get("CI") == "true"


def endure(kinds: str, seconds: float) -> None:
    seed = os.environ.get("TOTEMD_CHAOS_SEED") or secrets.token_hex(4)
    result = Run(Plan(kinds, seconds, seed), print).run()
    print(summary(result))
    assert result.ok, "\n".join([f"seed {seed}; recordings in {result.kept}", *result.violations])
    assert all(one.deliveries > one.accepted for one in result.rounds)


def test_totemd_endures_chaos() -> None:
    endure(PURE, 120.0 if IN_CI else 20.0)


@pytest.mark.corosync
def test_totemd_among_real_nodes_endures_chaos() -> None:
    endure(MIXED, 60.0 if IN_CI else 20.0)
