"""Everything in turn: rings are started, measured and stopped, and what is found is kept."""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from totemd_bench import changes
from totemd_bench.figures import Figures
from totemd_bench.loads import LoadRun
from totemd_bench.plan import Options, Step, Task, expected_begin_s, expected_s, expected_step_s, schedule, skipped
from totemd_bench.stage import Programs, Ring, RingError, Stage, settings_for
from totemd_lab.places import LabError

FORM_ATTEMPTS: Final = 3
SLUGGISH_S: Final = 20.0
"""So much is taken to have gone as expected before it is said what is left."""


@dataclass(frozen=True)
class Key:
    """What a result is of."""

    cell: str
    nodes: int
    engine: str
    client: str


Outcome: TypeAlias = Figures | str
"""Of one round: its figures, or why there are none."""


@dataclass
class Results:
    """What has been found so far."""

    rounds: dict[Key, list[Outcome]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What else has to be known: rings that had to be started again."""
    began: float = field(default_factory=time.time)
    took_s: float = 0.0
    interrupted: bool = False

    def add(self, key: Key, outcome: Outcome) -> None:
        """Keep one round's."""
        self.rounds.setdefault(key, []).append(outcome)

    def figures(self, key: Key) -> list[Figures]:
        """Those of the rounds that had any."""
        return [outcome for outcome in self.rounds.get(key, ()) if not isinstance(outcome, str)]

    def failures(self, key: Key) -> list[str]:
        """Why the other rounds had none."""
        return [outcome for outcome in self.rounds.get(key, ()) if isinstance(outcome, str)]


class Suite:
    """A run of the benchmark."""

    def __init__(self, options: Options, say: Callable[[str], None] | None = None) -> None:
        self._options = options
        self._say = say or (lambda text: print(text, file=sys.stderr, flush=True))
        self.results = Results(notes=skipped(options))
        self._tasks = schedule(options)
        self._begin = time.monotonic()
        self._expected_done = 0.0
        self._serial = 0

    def run(self) -> Results:
        """Do all of it; what was found by then if it is interrupted."""
        total = sum(expected_s(self._options, task) for task in self._tasks)
        self._say(f"{len(self._tasks)} rings, about {_minutes(total)}")
        try:
            with tempfile.TemporaryDirectory(prefix="bench") as directory:
                self._run_in(Path(directory))
        except KeyboardInterrupt:
            self.results.interrupted = True
        self.results.took_s = time.monotonic() - self._begin
        return self.results

    def _run_in(self, directory: Path) -> None:
        programs = Programs(directory / "programs", client_priority=self._options.client_priority)
        stage: Stage | None = None
        try:
            for number, task in enumerate(self._tasks):
                if stage is None or len(stage.members) != task.nodes:
                    if stage is not None:
                        stage.close()
                    options = self._options
                    stage = Stage(
                        task.nodes, settings_for(task.nodes, real_time=options.real_time, token_ms=options.token_ms)
                    )
                life = _Life(self, task, stage, directory / str(number), programs)
                life.run()
                self._expected_done = sum(expected_s(self._options, done) for done in self._tasks[: number + 1])
        finally:
            if stage is not None:
                stage.close()

    def late(self, more_s: float) -> bool:
        """Whether something of this length would end beyond the time that was given."""
        budget = self._options.budget_s
        return budget is not None and time.monotonic() - self._begin + more_s > budget

    def keep(self, task: Task, step: Step, outcome: Outcome) -> None:
        """Keep what was found, and say so."""
        self.results.add(Key(step.cell.name, task.nodes, task.engine.label, step.client), outcome)
        text = outcome if isinstance(outcome, str) else "  ".join(f"{k} {v:.4g}" for k, v in outcome.items())
        if step == task.steps[0]:
            self._expected_done += expected_begin_s(task.nodes)
        self._expected_done += expected_step_s(self._options, task.nodes, step)
        what = f"N={task.nodes} {task.engine.label}/{step.client} {step.cell.name} {task.round + 1}"
        self._say(f"{self._left()} {what}: {'FAILED: ' if isinstance(outcome, str) else ''}{text}")

    def note(self, text: str) -> None:
        """Keep a remark, and say it."""
        self.results.notes.append(text)
        self._say(text)

    def serial(self) -> int:
        """A new number."""
        self._serial += 1
        return self._serial

    def measure(self, ring: Ring, step: Step) -> Figures:
        """One step on a formed ring. Raises RingError or OSError."""
        cell, options = step.cell, self._options
        if cell.name == "idle":
            return changes.idle(ring, options.idle_s)
        if cell.name == "memory":
            return changes.memory(ring)
        if cell.name == "leave":
            return changes.leave(ring, options)
        if cell.name == "join":
            return changes.join(ring, options)
        if cell.name == "kill":
            return changes.kill(ring, options)
        if cell.loss_percent:
            ring.set_loss(cell.loss_percent)
        try:
            return LoadRun(ring, step, cell.seconds(options.seconds), str(self.serial())).run()
        finally:
            if cell.loss_percent:
                ring.set_loss(0)

    @property
    def options(self) -> Options:
        """What was asked for."""
        return self._options

    def _left(self) -> str:
        elapsed = time.monotonic() - self._begin
        rest = sum(expected_s(self._options, task) for task in self._tasks) - self._expected_done
        left = rest * (elapsed + SLUGGISH_S) / (self._expected_done + SLUGGISH_S)
        if self._options.budget_s is not None:
            left = min(left, self._options.budget_s - elapsed)
        return f"[{elapsed:6.0f} s, about {_minutes(max(0.0, left))} left]"


class _Life:
    """One ring, or several where one breaks."""

    def __init__(self, suite: Suite, task: Task, stage: Stage, directory: Path, programs: Programs) -> None:
        self._suite = suite
        self._task = task
        self._stage = stage
        self._directory = directory
        self._programs = programs
        self._attempt = 0
        self._ring: Ring | None = None

    def run(self) -> None:
        """Measure all steps; each gets an outcome."""
        try:
            for index, step in enumerate(self._task.steps):
                if self._late(step):
                    names = ", ".join(step.cell.name for step in self._task.steps[index:])
                    who = f"{self._task.engine.label}, {self._task.nodes} nodes, round {self._task.round + 1}"
                    self._suite.note(f"{who}: the time was up before {names}")
                    break
                self._suite.keep(self._task, step, self._outcome(step))
        finally:
            self._stop()
            shutil.rmtree(self._directory, ignore_errors=True)

    def _late(self, step: Step) -> bool:
        # A ring that would be cut off at once is not started for it.
        options, nodes = self._suite.options, self._task.nodes
        begin = 0.0 if self._ring is not None else expected_begin_s(nodes)
        return self._suite.late(begin + expected_step_s(options, nodes, step))

    def _outcome(self, step: Step) -> Outcome:
        try:
            if self._task.cold:
                return changes.cold_start(self._new_ring(), self._suite.options.bound_s)
            return self._suite.measure(self._formed(joining=step.cell.name == "join"), step)
        except (RingError, LabError, OSError) as error:
            return str(error)

    def _formed(self, *, joining: bool) -> Ring:
        """The ring, whole (without the last node for one that joins). Raises RingError."""
        ring = self._ring
        missing = [] if ring is None else [node for node in ring.nodes if not node.running()]
        if ring is None or (missing and missing != ring.nodes[-1:]):
            ring = self._form()
        if joining and ring.nodes[-1].running():
            changes.leave(ring, self._suite.options)
        if not joining and not ring.nodes[-1].running():
            changes.join(ring, self._suite.options)
        return ring

    def _form(self) -> Ring:
        reason = ""
        for _ in range(FORM_ATTEMPTS):
            ring = self._new_ring()
            try:
                changes.form(ring, 30.0 + len(ring.nodes))
                return ring
            except (RingError, LabError) as error:
                reason = str(error)
                self._suite.note(f"{self._task.engine.label}, {self._task.nodes} nodes: no ring: {reason}")
        self._stop()
        raise RingError(f"no ring in {FORM_ATTEMPTS} attempts: {reason}")

    def _new_ring(self) -> Ring:
        self._stop()
        self._attempt += 1
        directory = self._directory / str(self._attempt)
        self._ring = Ring(self._stage, self._task.engine, directory, self._programs)
        return self._ring

    def _stop(self) -> None:
        if self._ring is not None:
            self._ring.stop()
            self._ring = None


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
