"""Fuzzing, guided by coverage: `make fuzz SECONDS=60`, or with more choice

    python tests/fuzz/run_fuzz.py [--seconds N] [--jobs N] [--keep] [target ...]

The seconds are divided among the targets. An input that makes a target fail is written to tests/fuzz/crashes and its
traceback shown; once the cause is repaired, it goes to tests/fuzz/corpus/<target> under a name that says what it was.
With --keep the corpus also takes what reached new code, minimised. Exit status 0, 1 for findings, 77 where atheris is
not installed (`pip install -e .[fuzz]`).
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
CRASHES: Final = HERE / "crashes"
CORPUS: Final = HERE / "corpus"

SKIPPED: Final = 77
MEMORY_MB_MAX: Final = 512
INPUT_TIMEOUT_S: Final = 20
KEPT_SIZE_MAX: Final = 600
"""Bytes of an input that --keep takes into the corpus; a large one is rarely the only way to its code."""
KEPT_BYTES_MAX: Final = 20_000
"""Of one target."""
LONGEST: Final = {"config": 4096, "capture": 4096, "ring_packet": 4096, "session": 2048, "library_requests": 4096}
LONGEST_USUAL: Final = 1600
WEIGHTS: Final = {"node_member": 4, "node_representative": 4, "session": 3, "library_requests": 3, "config": 2}
"""How much more of the time than a decoder gets; an execution of these is a life of a node."""


@dataclass
class Result:
    """What became of one target."""

    target: str
    executions: int
    covered: int
    seconds: float
    output: str
    failed: bool


def main(arguments: Sequence[str] | None = None) -> int:
    if sys.argv[1:2] == ["--one"]:
        return _fuzz_here(sys.argv[2], sys.argv[3:])
    options = _parser().parse_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        print("fuzzing is skipped: atheris is not installed (pip install -e .[fuzz])", file=sys.stderr)
        return SKIPPED
    sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]
    from fuzz_targets import TARGETS

    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        print(f"unknown target {unknown[0]}; known are {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    targets = sorted(options.targets or TARGETS, key=_weight, reverse=True)
    share_s = options.seconds * min(options.jobs, len(targets)) / sum(map(_weight, targets))
    with ThreadPoolExecutor(options.jobs) as pool:
        seconds = [max(1, round(share_s * _weight(target))) for target in targets]
        results = list(pool.map(lambda target, time_s: _fuzz(target, time_s, keep=options.keep), targets, seconds))
    _report(results)
    return 1 if any(result.failed for result in results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together (default 60)")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time (default 2)")
    parser.add_argument("--keep", action="store_true", help="take new coverage into tests/fuzz/corpus")
    return parser


def _weight(target: str) -> int:
    return WEIGHTS.get(target, 1)


def _fuzz(target: str, seconds: int, *, keep: bool) -> Result:
    """Fuzz one target in a process of its own."""
    from fuzz_seeds import seeds_of

    CRASHES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        found, seeds, minimal = (Path(scratch) / name for name in ("found", "seeds", "minimal"))
        for directory in (found, seeds, minimal):
            directory.mkdir()
        for number, data in enumerate(seeds_of(target).values()):
            (seeds / f"{number}").write_bytes(data)
        kept = CORPUS / target
        known = [str(directory) for directory in (kept, seeds) if directory.is_dir()]
        begin = time.monotonic()
        flags = [f"-max_total_time={seconds}", f"-max_len={LONGEST.get(target, LONGEST_USUAL)}"]
        again = _executable(target, Path(scratch) / "again")
        finished = _libfuzzer(target, again, [*flags, str(found), *known], seconds + 120)
        result = _result(target, finished, time.monotonic() - begin)
        if keep and not result.failed:
            _libfuzzer(target, again, ["-merge=1", str(minimal), *known, str(found)], 600)
            _take_over(minimal, kept, {path.read_bytes() for path in seeds.iterdir()})
    return result


def _executable(target: str, path: Path) -> Path:
    """A program that fuzzes `target`: libFuzzer starts itself anew for some of its work."""
    words = (sys.executable, __file__, "--one", target, str(path))
    path.write_text(f'#!/bin/sh\nexec {" ".join(map(shlex.quote, words))} "$@"\n')
    path.chmod(0o755)
    return path


def _libfuzzer(target: str, again: Path, arguments: list[str], patience_s: int) -> subprocess.CompletedProcess[str]:
    flags = [
        f"-artifact_prefix={CRASHES}/{target}-",
        f"-rss_limit_mb={MEMORY_MB_MAX}",
        f"-timeout={INPUT_TIMEOUT_S}",
        "-print_final_stats=1",
    ]
    return subprocess.run(
        [str(again), *flags, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", timeout=patience_s, check=False,
    )  # fmt: skip


def _result(target: str, finished: subprocess.CompletedProcess[str], seconds: float) -> Result:
    def last(pattern: str) -> int:
        numbers = re.findall(pattern, finished.stdout)
        return int(numbers[-1]) if numbers else 0

    executions = last(r"stat::number_of_executed_units: (\d+)") or last(r"#(\d+)")
    return Result(target, executions, last(r"cov: (\d+)"), seconds, finished.stdout, finished.returncode != 0)


def _take_over(minimal: Path, kept: Path, seeds: set[bytes]) -> None:
    """The smallest of the new inputs, up to the target's share of the corpus; named regressions stay."""
    kept.mkdir(parents=True, exist_ok=True)
    for path in kept.iterdir():
        if not path.name.startswith("regression-"):
            path.unlink()
    room = KEPT_BYTES_MAX - sum(path.stat().st_size for path in kept.iterdir())
    for path in sorted(minimal.iterdir(), key=lambda path: (path.stat().st_size, path.name)):
        data = path.read_bytes()
        if data in seeds or len(data) > KEPT_SIZE_MAX:
            continue
        room -= len(data)
        if room < 0:
            break
        (kept / path.name[:12]).write_bytes(data)


def _report(results: list[Result]) -> None:
    for result in results:
        if result.failed:
            print(f"--- {result.target} ---\n{result.output[-6000:]}\n")
    print(f"{'target':20} {'executions':>10} {'covered':>8} {'seconds':>8}")
    for result in results:
        verdict = "  FOUND SOMETHING" if result.failed else ""
        print(f"{result.target:20} {result.executions:10} {result.covered:8} {result.seconds:8.1f}{verdict}")
    print(f"{sum(result.executions for result in results)} executions")


def _fuzz_here(target: str, arguments: list[str]) -> int:
    """What the program of `_executable` does: its own name and libFuzzer's arguments."""
    import atheris

    sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]
    with atheris.instrument_imports(include=["totemd", "totemd_protocol"]):
        from fuzz_targets import TARGETS

    atheris.Setup(arguments, TARGETS[target])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
