"""`totemctl simulate`: whole clusters in a virtual world, by seed, and what breaks in them.

The simulation itself is in `totemd.sim`; here are its processes, its progress and its report.
"""

import gc
import json
import multiprocessing
import os
import shlex
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TextIO

from totemd.errors import OperatorError
from totemd.record import record
from totemd.sim.faults import preset
from totemd.sim.history import Violation
from totemd.sim.run import Outcome, run_seed
from totemd.sim.schedule import NODES_MAX, Schedule, decode_schedule, encode_schedule
from totemd.sim.shrink import shrink
from totemd.sim.trace import Trace

EXIT_VIOLATION: Final = 1
EXIT_USAGE: Final = 64
EXIT_INTERRUPTED: Final = 130

CHUNK: Final = 8
"""Seeds that a worker process takes at a time."""

PROGRESS_S: Final = 1.0
"""How often the progress is shown on a terminal; ten times as seldom elsewhere."""


@record
class Job:
    """What is the same for all seeds of a command."""

    nodes: tuple[int, int]
    faults: str


@record
class Verdict:
    """What a worker tells of one seed."""

    seed: int
    violations: list[Violation]
    virtual_s: float
    steps: int
    packets: int


def parse_nodes(text: str) -> tuple[int, int]:
    """`3` or `2-9`. OperatorError if it is neither, or outside 1 to NODES_MAX."""
    least, dash, most = text.partition("-")
    try:
        nodes = int(least), int(most if dash else least)
    except ValueError:
        nodes = 0, 0
    if not 1 <= nodes[0] <= nodes[1] <= NODES_MAX:
        raise OperatorError(f"--nodes: found {text!r}; a number from 1 to {NODES_MAX} or a range like 2-9 is wanted")
    return nodes


def simulate(arguments: Namespace) -> int:
    """Run the command; the exit status."""
    try:
        job = Job(parse_nodes(arguments.nodes), arguments.faults)
        preset(job.faults)
        schedule = _read_schedule(arguments.schedule) if arguments.schedule is not None else None
    except OperatorError as error:
        print(f"totemctl simulate: {error}", file=sys.stderr)
        return EXIT_USAGE
    if schedule is not None or arguments.trace is not None or (arguments.seed is not None and arguments.seeds is None):
        return _play_one(job, arguments, schedule)
    return _play_many(job, arguments)


def _read_schedule(path: str) -> Schedule:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"cannot read the schedule {path}: {error}") from error
    return decode_schedule(text, path)


# One run


def _play_one(job: Job, arguments: Namespace, schedule: Schedule | None) -> int:
    seed = schedule.seed if schedule is not None else arguments.seed or 0
    file: TextIO | None = None
    try:
        if arguments.trace is not None:
            # Standard output is for the report, unless it is asked for the trace.
            file = sys.stdout if arguments.trace == "-" else open(arguments.trace, "w", encoding="utf-8")  # noqa: SIM115
        trace = Trace(file.write if file is not None else None)
        outcome = run_seed(seed, nodes=job.nodes, faults=preset(job.faults), schedule=schedule, trace=trace)
    except OSError as error:
        print(f"totemctl simulate: cannot write the trace {arguments.trace}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OperatorError as error:
        print(f"totemctl simulate: {error}", file=sys.stderr)
        return EXIT_USAGE
    finally:
        if file is not None and file is not sys.stdout:
            file.close()
    out = sys.stderr if arguments.trace == "-" else sys.stdout
    if arguments.json:
        print(json.dumps(_outcome_json(outcome)), file=out)
    else:
        print(
            f"seed {outcome.seed}: {outcome.schedule.nodes} nodes, {outcome.virtual_s:.1f} s simulated, "
            f"{outcome.steps} steps, {outcome.packets} packets, trace sha256 {outcome.trace_digest}",
            file=out,
        )
    if not outcome.violations:
        return 0
    _report(job, outcome.schedule, outcome.violations, arguments, given=schedule is not None)
    return EXIT_VIOLATION


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "seed": outcome.seed,
        "nodes": outcome.schedule.nodes,
        "virtual_s": round(outcome.virtual_s, 6),
        "settled_s": outcome.settled_s if outcome.settled_s is None else round(outcome.settled_s, 6),
        "steps": outcome.steps,
        "packets": outcome.packets,
        "trace_sha256": outcome.trace_digest,
        "violations": [asdict(violation) for violation in outcome.violations],
    }


# Many runs


def _play_seeds(work: tuple[Job, range]) -> list[Verdict]:
    """In a worker process."""
    job, seeds = work
    faults = preset(job.faults)
    verdicts = []
    for seed in seeds:
        outcome = run_seed(seed, nodes=job.nodes, faults=faults)
        verdicts.append(Verdict(seed, outcome.violations, outcome.virtual_s, outcome.steps, outcome.packets))
        del outcome
        # A world is one heap of references in circles: all of it goes at once, when it is over.
        gc.collect()
    return verdicts


def _prepare_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Looking for garbage while a world runs costs a quarter of the time and finds little.
    gc.disable()
    gc.freeze()


class _Progress:
    """Counts, and shows the counts now and then."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self.total = total
        self.seeds = 0
        self.virtual_s = 0.0
        self.steps = 0
        self.packets = 0
        self._begin = time.monotonic()
        self._shown = self._begin
        self._terminal = sys.stderr.isatty()
        self._quiet = quiet

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self._begin

    def count(self, verdict: Verdict) -> None:
        self.seeds += 1
        self.virtual_s += verdict.virtual_s
        self.steps += verdict.steps
        self.packets += verdict.packets
        every_s = PROGRESS_S if self._terminal else 10 * PROGRESS_S
        if not self._quiet and time.monotonic() - self._shown >= every_s:
            self._shown = time.monotonic()
            text = f"{self.seeds} of {self.total} seeds, {self._rates()}"
            print(f"\r{text}\033[K" if self._terminal else text, end="" if self._terminal else "\n", file=sys.stderr)
            sys.stderr.flush()

    def clear(self) -> None:
        """Make room for a report."""
        if self._terminal and not self._quiet:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _rates(self) -> str:
        wall_s = max(self.wall_s, 1e-9)
        return f"{self.seeds / wall_s:.1f} seeds/s, {self.virtual_s:.0f} s simulated"

    def summary(self, job: Job, violations: int, *, interrupted: bool) -> str:
        least, most = job.nodes
        what = f"{self.seeds} seeds of {least} to {most} nodes, faults {job.faults}: " + (
            "no violation" if not violations else f"violations: {violations} seeds"
        )
        figures = f"{self.wall_s:.1f} s, {self._rates()}, {self.steps} steps, {self.packets} packets"
        return f"{'interrupted after ' if interrupted else ''}{what}\n{figures}"


def _verdicts(job: Job, seeds: range, jobs: int) -> Iterator[Verdict]:
    chunks = [(job, seeds[begin : begin + CHUNK]) for begin in range(0, len(seeds), CHUNK)]
    if jobs == 1:
        for chunk in chunks:
            for seed in chunk[1]:
                yield from _play_seeds((job, range(seed, seed + 1)))
        return
    context = multiprocessing.get_context("fork")
    # Ctrl-C is ours: we say what was done, and end the workers, which are born deaf to it. Ours comes a moment later.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        pool = context.Pool(min(jobs, len(chunks)), initializer=_prepare_worker)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with pool:
        for verdicts in pool.imap_unordered(_play_seeds, chunks):
            yield from verdicts


def _play_many(job: Job, arguments: Namespace) -> int:
    first = arguments.seed or 0
    seeds = range(first, first + (arguments.seeds if arguments.seeds is not None else 100))
    progress = _Progress(len(seeds), quiet=arguments.json)
    failed: list[Verdict] = []
    interrupted = False
    verdicts = _verdicts(job, seeds, arguments.jobs or os.cpu_count() or 1)
    try:
        for verdict in verdicts:
            progress.count(verdict)
            if verdict.violations:
                failed.append(verdict)
                if not arguments.keep_going:
                    break
                first_found = verdict.violations[0]
                progress.clear()
                text = f"seed {verdict.seed}: {first_found.property} [{first_found.anchor}]: {first_found.text}"
                print(text, file=sys.stderr, flush=True)
        verdicts.close()  # type: ignore[attr-defined]
        for verdict in failed[:1]:
            progress.clear()
            outcome = run_seed(verdict.seed, nodes=job.nodes, faults=preset(job.faults))
            _report(job, outcome.schedule, outcome.violations, arguments, given=False)
    except KeyboardInterrupt:
        interrupted = True
        with suppress(KeyboardInterrupt):
            verdicts.close()  # type: ignore[attr-defined]
    progress.clear()
    failed.sort(key=lambda verdict: verdict.seed)
    if arguments.json:
        print(json.dumps(_summary_json(job, progress, failed, interrupted)))
    else:
        print(progress.summary(job, len(failed), interrupted=interrupted))
    if failed:
        return EXIT_VIOLATION
    return EXIT_INTERRUPTED if interrupted else 0


def _summary_json(job: Job, progress: _Progress, failed: list[Verdict], interrupted: bool) -> dict[str, Any]:
    wall_s = progress.wall_s
    return {
        "seeds": progress.seeds,
        "nodes": list(job.nodes),
        "faults": job.faults,
        "interrupted": interrupted,
        "wall_s": round(wall_s, 3),
        "seeds_per_s": round(progress.seeds / wall_s, 2) if wall_s else None,
        "virtual_s": round(progress.virtual_s, 3),
        "steps": progress.steps,
        "packets": progress.packets,
        "failed": [
            {"seed": verdict.seed, "violations": [asdict(violation) for violation in verdict.violations]}
            for verdict in failed
        ],
    }


# The report of a failure


def _report(job: Job, schedule: Schedule, violations: list[Violation], arguments: Namespace, *, given: bool) -> None:
    """What broke, the smallest schedule that breaks it, and how to play it again; on standard error with --json."""
    out = sys.stderr if arguments.json or arguments.trace == "-" else sys.stdout
    for violation in violations[:5]:
        print(f"VIOLATION {violation.property} [{violation.anchor}] at {violation.time:.3f} s", file=out)
        print(f"  {violation.text}", file=out)
    if len(violations) > 5:
        print(f"  and {len(violations) - 5} more", file=out)
    if not given:
        least, most = job.nodes
        words = ["totemctl", "simulate", "--seed", str(schedule.seed), "--nodes", f"{least}-{most}"]
        print(f"replay: {shlex.join([*words, '--faults', job.faults])}", file=out)
    if arguments.no_shrink:
        return
    print("making the schedule smaller ...", file=out, flush=True)
    small, runs = shrink(schedule, lambda candidate: _breaks(candidate, violations[0].property, job))
    path = Path(arguments.save or f"simulate-{schedule.seed}.txt")
    text = f"# {violations[0].property} [{violations[0].anchor}]\n{encode_schedule(small)}"
    print(f"after {runs} runs {len(small.actions)} of {len(schedule.actions)} actions are left:", file=out)
    print("\n".join(f"  {line}" for line in text.splitlines()), file=out)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"it cannot be saved as {path}: {error}", file=out)
        return
    print(f"replay: {shlex.join(['totemctl', 'simulate', '--schedule', str(path), '--trace', '-'])}", file=out)


def _breaks(schedule: Schedule, promise: str, job: Job) -> bool:
    try:
        outcome = run_seed(schedule.seed, nodes=job.nodes, faults=preset(job.faults), schedule=schedule)
    except OperatorError:
        # What is left is no valid configuration.
        return False
    return any(violation.property == promise for violation in outcome.violations)
