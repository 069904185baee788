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
MEMORY_MB_MAX: Final = 1024
INPUT_TIMEOUT_S: Final = 20
KEPT_SIZE_MAX: Final = 600
"""Bytes of an input that --keep takes into the corpus; a large one is rarely the only way to its code."""
KEPT_BYTES_MAX: Final = 20_000
"""Of one target."""
LONGEST: Final = {"config": 4096, "capture": 4096, "ring_packet": 4096, "session": 2048}
LONGEST_USUAL: Final = 1600


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
    options = _parser().parse_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        print("fuzzing is skipped: atheris is not installed (pip install -e .[fuzz])", file=sys.stderr)
        return SKIPPED
    sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]
    if options.one is not None:
        return _fuzz_here(options.one, options.libfuzzer)
    from fuzz_targets import TARGETS

    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        print(f"unknown target {unknown[0]}; known are {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    targets = options.targets or list(TARGETS)
    each_s = max(1, round(options.seconds * min(options.jobs, len(targets)) / len(targets)))
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda target: _fuzz(target, each_s, keep=options.keep), targets))
    _report(results)
    return 1 if any(result.failed for result in results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together (default 60)")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time (default 2)")
    parser.add_argument("--keep", action="store_true", help="take new coverage into tests/fuzz/corpus")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--libfuzzer", action="append", default=[], help=argparse.SUPPRESS)
    return parser


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
        finished = _libfuzzer(target, [*flags, str(found), *known], seconds + 120)
        result = _result(target, finished, time.monotonic() - begin)
        if keep and not result.failed:
            _libfuzzer(target, ["-merge=1", str(minimal), *known, str(found)], 600)
            _take_over(minimal, kept, {path.read_bytes() for path in seeds.iterdir()})
    return result


def _libfuzzer(target: str, arguments: list[str], patience_s: int) -> subprocess.CompletedProcess[str]:
    flags = [
        f"-artifact_prefix={CRASHES}/{target}-",
        f"-rss_limit_mb={MEMORY_MB_MAX}",
        f"-timeout={INPUT_TIMEOUT_S}",
        "-print_final_stats=1",
        *arguments,
    ]
    command = [sys.executable, __file__, "--one", target, *(f"--libfuzzer={flag}" for flag in flags)]
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        timeout=patience_s, check=False,
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
    import atheris

    with atheris.instrument_imports(include=["totemd", "totemd_protocol"]):
        from fuzz_targets import TARGETS

    atheris.Setup([sys.argv[0], *arguments], TARGETS[target])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
