"""Sealed rings in the virtual world: all promises hold, also under attack, and what breaks them is seen."""

from __future__ import annotations

from collections import Counter

import pytest

from totemd.seal.seal import Seal
from totemd.seal.window import Window
from totemd.sim.attacks import ATTACKS
from totemd.sim.faults import PRESETS
from totemd.sim.generate import generate
from totemd.sim.run import run_seed, settle_bound_s
from totemd.sim.schedule import Schedule, decode_schedule, encode_schedule
from totemd.sim.trace import Trace
from totemd.sim.world import World

SEEDS = range(16)


def attacked(kind: str, suite: str = "aes256") -> Schedule:
    """Three nodes, of which one is killed and comes back, and floods of one kind at all of them."""
    lines = ["seed 1", "nodes 3", "totem token 300", "totem token_coefficient 0", f"totem crypto_cipher {suite}"]
    lines += [f"at 0 start {nodeid}" for nodeid in (1, 2, 3)]
    lines += ["at 0.5 crash 3 1", "at 0.6 start 3"]
    lines += [f"at {0.1 * n:.1f} send {1 + n % 3} 3 300 {n % 2}" for n in range(2, 24)]
    lines += [f"at {at} attack {nodeid} {kind} 150" for at in (0.3, 1.2, 1.6) for nodeid in (1, 2, 3)]
    return decode_schedule("\n".join([*lines, "calm 2"]))


def played(schedule: Schedule) -> World:
    world = World(schedule)
    world.run(settle_bound_s(schedule))
    return world


@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_holds_in_sealed_rings_under_attack(seed: int) -> None:
    outcome = run_seed(seed, nodes=(2, 5), faults=PRESETS["sealed"])
    assert outcome.violations == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("replay", {"replayed"}),
        ("old", {"forged or damaged", "unknown session"}),
        ("swap", {"replayed", "own packet", "forged or damaged"}),
        ("reflect", {"own packet"}),
        ("flip", {"forged or damaged"}),
        ("truncate", {"forged or damaged", "sealed datagram truncated"}),
        ("forge", {"forged or damaged"}),
        ("other", {"forged or damaged"}),
    ],
)
def test_an_attack_changes_nothing_but_counters(kind: str, words: set[str]) -> None:
    schedule = attacked(kind)
    outcome = run_seed(1, nodes=(3, 3), faults=PRESETS["none"], schedule=schedule)
    assert outcome.violations == []
    world = played(schedule)
    counted = Counter[str]()
    for life in world.lives.values():
        assert life.node.sealing is not None
        counted.update(life.node.sealing.statistics())
    assert sum(counted[word] for word in words) > 400, counted
    # The same without anybody on the wire: no other rings, no other messages.
    calm = attacked(kind)
    quiet = played(decode_schedule("\n".join(x for x in encode_schedule(calm).splitlines() if " attack " not in x)))
    rings = {life.node.ring.ring.seq for life in world.lives.values()}
    assert rings == {life.node.ring.ring.seq for life in quiet.lives.values()}
    assert {life.process.own_heard for life in world.lives.values()} == {
        life.process.own_heard for life in quiet.lives.values()
    }


def test_all_kinds_are_generated() -> None:
    drawn = {
        action.arguments[0]
        for seed in range(50)
        for action in generate(seed, (2, 5), PRESETS["sealed"]).actions
        if action.verb == "attack"
    }
    assert drawn == set(ATTACKS)


@pytest.mark.parametrize("suite", ["aes128", "aes192", "chacha20"])
def test_every_cipher(suite: str) -> None:
    assert run_seed(1, nodes=(3, 3), faults=PRESETS["none"], schedule=attacked("flip", suite)).violations == []


def test_a_seed_gives_one_trace() -> None:
    digests = {run_seed(3, nodes=(3, 3), faults=PRESETS["sealed"], trace=Trace()).trace_digest for _ in range(2)}
    assert len(digests) == 1


def test_a_window_that_takes_everything_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Window, "take", lambda self, counter: True)
    found = {
        v.property for v in run_seed(1, nodes=(3, 3), faults=PRESETS["none"], schedule=attacked("replay")).violations
    }
    assert "only what is sealed" in found


def test_a_seal_that_is_no_seal_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Seal.open

    def open_anything(self: Seal, data: bytes, now: float) -> tuple[int, bytes] | None:
        return honest(self, data, now) or ((2, data[37:-16]) if len(data) > 60 else None)

    monkeypatch.setattr(Seal, "open", open_anything)
    found = {
        v.property for v in run_seed(1, nodes=(3, 3), faults=PRESETS["none"], schedule=attacked("forge")).violations
    }
    assert "only what is sealed" in found


@pytest.mark.parametrize("seed", range(6))
def test_managed_and_sealed_clusters_under_attack(seed: int) -> None:
    """Who was away is refused, fetches the newer configuration, and is back."""
    assert run_seed(seed, nodes=(2, 4), faults=PRESETS["cluster"]).violations == []
