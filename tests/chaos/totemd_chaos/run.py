"""A whole run: rounds of faults, calm and judgement over one ring whose daemons live on from round to round."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from totemd.ids import NodeId
from totemd.sim.checkers import ALL, Checker, check
from totemd.sim.history import Calm, Event, Limits, Violation
from totemd_chaos.checks import exit_faults, log_faults, own_ends, resource_faults, usage_of
from totemd_chaos.real_nodes import torn_messages, without
from totemd_chaos.recordings import Recordings, read_recordings
from totemd_chaos.results import Result, Round, measure
from totemd_chaos.ring import ChaosRing
from totemd_chaos.schedule import Terrain, draw_schedule
from totemd_lab.configuration import RingSettings
from totemd_lab.places import LabError
from totemd_lab.ring import SLOWNESS, wait_until

PURE = "TTTTT"
MIXED = "TCTCT"
CALM_LOAD_S = 2.0
"""After the ring has formed messages go on for so long."""

QUIET_S = 1.5
"""Nothing written into any recording for so long: all is delivered."""

LIVES_PER_ROUND = 1000

AT_THE_END = frozenset({"one ring", "all delivered"})
"""Checkers that look at the end of a history."""

OF_ALL_MESSAGES = frozenset({"integrity", "self-delivery", "agreed order"})
"""Checkers that ask of nobody to deliver what others deliver."""

OF_OUR_LIVES = frozenset({"no gaps"})
"""Checkers that need to know in which ring a message was delivered, which clients of real nodes do not hear."""

OF_ANCESTRY = frozenset({"one quorate"})
"""Checkers that need to know which ring came before which, be it by way of real nodes alone."""

OF_ALL_ROUNDS = frozenset({"ring ids grow", "one membership"})
"""Checkers that need nothing but configurations, and look at all rounds together."""


@dataclass(frozen=True)
class Plan:
    """What is asked for."""

    kinds: str
    seconds: float
    """Of faults, in all rounds together."""
    seed: str
    rate_per_s: float = 20.0
    """Messages of each node."""
    token_ms: int = 600
    settle_s: float = 30.0
    """Within this after the end of the faults all is one ring, and all is delivered."""
    round_s: float = 50.0
    """Faults last so long, then comes calm. A history is judged as a whole, so it has to end some time."""
    keep: bool = False
    sealed: bool = False

    def settings(self, directory: Path) -> RingSettings:
        """The ring's; the key of a sealed one is new, and lies in `directory`."""
        totem = {"downcheck": "300"}
        if self.sealed:
            key = directory / "key"
            key.write_bytes(os.urandom(128))
            key.chmod(0o600)
            totem |= {"secauth": "on", "keyfile": str(key)}
        return RingSettings(token_ms=self.token_ms, token_coefficient_ms=0, totem=totem)

    def terrain(self) -> Terrain:
        return Terrain(self.kinds, self.token_ms / 1000, self.kinds.index("T") + 1)


class Run:
    """Use once."""

    def __init__(self, plan: Plan, progress: Callable[[str], None]) -> None:
        self._plan = plan
        self._progress = progress
        self._directory = Path(tempfile.mkdtemp(prefix="chaos-"))
        self._result = Result(plan.kinds, plan.seed)
        self._changes: list[Event] = []

    def run(self) -> Result:
        """Everything, to the end of the last round or to the first round with a violation."""
        begin = time.monotonic()
        plan, result = self._plan, self._result
        settings = plan.settings(self._directory)
        ring = ChaosRing(self._directory, plan.kinds, settings, rate_per_s=plan.rate_per_s, seed=plan.seed)
        with closing(ring):
            try:
                self._rounds(ring)
            except LabError as error:
                # For example a daemon that does not end, or a ring that does not form in the first place.
                result.violations.append(f"laboratory: {error}")
            self._end(ring)
        over_all = check(_named(OF_ALL_ROUNDS), self._changes, Limits())
        result.violations += [f"all rounds: {_text(violation)}" for violation in over_all]
        result.seconds = round(time.monotonic() - begin, 1)
        if result.ok and not plan.keep:
            shutil.rmtree(self._directory, ignore_errors=True)
        else:
            result.kept = str(self._directory)
        return result

    def _rounds(self, ring: ChaosRing) -> None:
        plan, result = self._plan, self._result
        ring.start_all()
        ring.lab.wait_formed()
        left_s = plan.seconds
        while left_s > 0 and result.ok:
            length_s = left_s if left_s < 1.5 * plan.round_s else plan.round_s
            left_s -= length_s
            self._round(ring, len(result.rounds), length_s)
            result.violations = [text for one in result.rounds for text in one.violations]
            result.violations += self._faults_of_daemons(ring)

    def _round(self, ring: ChaosRing, number: int, seconds: float) -> None:
        plan = self._plan
        seed = f"{plan.seed}/{number}"
        schedule = draw_schedule(seed, seconds, plan.terrain())
        one = Round(seed, len(schedule))
        self._result.rounds.append(one)
        self._progress(f"round {number + 1}: {len(schedule)} faults in {seconds:.0f} s")
        paths = ring.start_recorders(f"-{number}", number * LIVES_PER_ROUND)
        ring.play(schedule, seconds, self._progress)
        ring.calm()
        calm = Calm(time.monotonic(), tuple(node.nodeid for node in ring.lab.nodes))
        formed = wait_until(lambda: self._ticked(ring) and ring.formed(), plan.settle_s, 0.1)
        one.settled_s = round(time.monotonic() - calm.time, 3)
        if not formed:
            views = "; ".join(f"{node!r} {view}" for node, view in zip(ring.lab.nodes, ring.views(), strict=True))
            one.violations.append(f"one ring: not formed {one.settled_s:.0f} s after the faults: {views}")
        self._let_settle(ring, paths)
        for text in self._judge(ring, paths, calm, one):
            one.violations.append(text)
            self._progress(f"VIOLATION (seed {seed}): {text}")
        statuses = ring.stop_recorders()
        if any(statuses):
            one.violations.append(f"recorder: exit statuses {statuses}")
        if not one.violations and not plan.keep:
            for path in paths:
                path.unlink()
        self._progress(
            f"round {number + 1}: one ring after {one.settled_s:.1f} s; {one.accepted} messages, {one.deliveries} "
            f"deliveries, {one.rings} rings, {len(one.violations)} violations"
        )

    def _ticked(self, ring: ChaosRing) -> bool:
        ring.tick()
        return True

    def _let_settle(self, ring: ChaosRing, paths: list[Path]) -> None:
        """More load, then none; until nothing comes any more."""
        until = time.monotonic() + CALM_LOAD_S
        while time.monotonic() < until:
            ring.tick()
            time.sleep(0.1)
        ring.stop_sending()
        deadline = time.monotonic() + self._plan.settle_s * SLOWNESS
        sizes: list[int] = []
        since = time.monotonic()
        while time.monotonic() < min(deadline, since + QUIET_S):
            ring.tick()
            time.sleep(0.1)
            now = [path.stat().st_size for path in paths]
            if now != sizes:
                sizes, since = now, time.monotonic()

    def _judge(self, ring: ChaosRing, paths: list[Path], calm: Calm, one: Round) -> Iterator[str]:
        recordings = self._read(ring, paths, calm, real_configurations=False)
        measure(recordings.events, one)
        limits = Limits(settle_s=self._plan.settle_s * SLOWNESS)
        if "C" not in self._plan.kinds:
            violations = check(ALL, recordings.events, limits)
        else:
            real = frozenset(node.nodeid for node in ring.lab.of_kind("C"))
            ends = self._read(ring, paths, calm, real_configurations=True).events
            torn = torn_messages(recordings.events, real) | torn_messages(ends, real)
            one.torn = len(torn)
            whole = without(recordings.events, torn)
            violations = [
                *check(_named(OF_ALL_MESSAGES), recordings.events, limits),
                *check(_without(OF_ALL_MESSAGES | AT_THE_END | OF_OUR_LIVES | OF_ANCESTRY), whole, limits),
                *check(_named(OF_OUR_LIVES), [event for event in whole if _node(event) not in real], limits),
                *check(_named(AT_THE_END | OF_ANCESTRY), without(ends, torn), limits),
            ]
        for violation in violations:
            yield _text(violation)
        for cut in recordings.cuts:
            yield f"client cut off: {cut}"
        self._changes += recordings.changes

    def _read(self, ring: ChaosRing, paths: list[Path], calm: Calm, *, real_configurations: bool) -> Recordings:
        recordings = read_recordings(paths, self._plan.kinds, ring.runs, real_configurations=real_configurations)
        recordings.events.append(calm)
        recordings.events.sort(key=lambda event: event.time)
        return recordings

    def _faults_of_daemons(self, ring: ChaosRing) -> Iterator[str]:
        for found in (*log_faults(ring), *exit_faults(ring.runs), *resource_faults(ring.runs)):
            text = f"{found.property}: {found.text}"
            self._progress(f"VIOLATION: {text}")
            yield text

    def _end(self, ring: ChaosRing) -> None:
        """Stop all daemons in order, and judge what only the end shows."""
        result = self._result
        for node in ring.lab.of_kind("T"):
            if node.running():
                try:
                    status = node.terminate(10.0)
                except LabError as error:
                    result.violations.append(f"exit status: {error}")
                    continue
                if status != 0:
                    result.violations.append(f"exit status: node {node.nodeid} ended with {status} after SIGTERM")
        result.faults = {fault.value: count for fault, count in ring.committed.items()}
        result.daemons_started = len(ring.runs)
        result.ended_on_their_own = own_ends(ring.runs)
        result.usage = [usage for run in ring.runs if (usage := usage_of(run)) is not None]


def _named(names: frozenset[str]) -> tuple[Checker, ...]:
    return tuple(checker for checker in ALL if checker.name in names)


def _without(names: frozenset[str]) -> tuple[Checker, ...]:
    return tuple(checker for checker in ALL if checker.name not in names)


def _node(event: Event) -> NodeId | None:
    return None if isinstance(event, Calm) else event.node


def _text(violation: Violation) -> str:
    return f"{violation.property} [{violation.anchor}]: {violation.text} (at {violation.time:.3f})"


def can_run() -> str | None:
    """Why it cannot run here, or None."""
    return None if os.geteuid() == 0 else "chaos needs root, for network namespaces"
