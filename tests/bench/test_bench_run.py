"""The benchmark itself, in small, so that it still works when somebody wants its figures. Nothing here judges them."""

import sys

import pytest

from totemd_bench.plan import BASELINE, LIBCPG, Engine, Options, choose
from totemd_bench.suite import Key, Suite

CELLS = choose(["idle", "64@300", "all:64@300", "rate-16k", "rate-1m", "loss-rate-16k", "memory", "leave", "join"])


def run(engine: Engine, clients: tuple[str, ...]) -> dict[Key, list[object]]:
    options = Options(
        nodes=(2,),
        cells=[*CELLS, *choose(["start"])],
        engines=[engine],
        clients=clients,
        rounds=1,
        seconds=0.2,
        idle_s=0.2,
        tries=1,
        baseline_tries=1,
        bound_s=30.0,
        # Twice the default: a daemon that gets no processor for a while must not look dead.
        token_ms=6000,
        real_time=False,
        client_priority=0,
    )
    results = Suite(options, lambda text: None).run()
    assert not results.interrupted
    assert [reason for key in results.rounds for reason in results.failures(key)] == []
    return {key: [*outcomes] for key, outcomes in results.rounds.items()}


@pytest.mark.root
@pytest.mark.corosync
@pytest.mark.slow
def test_everything_is_measured_with_totemd_and_each_client() -> None:
    found = run(Engine("totemd", sys.executable), (LIBCPG, "native", "python"))
    assert {key.cell for key in found} == {cell.name for cell in CELLS} | {"start"}
    assert {key.client for key in found if key.cell == "64@300"} == {LIBCPG, "native", "python"}


@pytest.mark.root
@pytest.mark.corosync
@pytest.mark.slow
def test_everything_is_measured_with_corosync() -> None:
    found = run(Engine(BASELINE), (LIBCPG, "native"))
    assert {(key.cell, key.client) for key in found} == {(c.name, LIBCPG) for c in CELLS} | {("start", LIBCPG)}
