"""The same seed gives the same trace, byte for byte, in every process and on every version of Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

from totemd.sim.faults import PRESETS
from totemd.sim.run import run_seed
from totemd.sim.trace import Trace

ROOT = Path(__file__).parents[2]
SEEDS = (3, 11, 12)
PROGRAM = f"""
from totemd.sim.faults import PRESETS
from totemd.sim.run import run_seed
from totemd.sim.trace import Trace
for seed in {SEEDS}:
    print(run_seed(seed, nodes=(3, 5), faults=PRESETS["all"], trace=Trace()).trace_digest)
"""


def digests(python: str, hash_seed: int) -> list[str]:
    """Of another process."""
    # What the core imports from elsewhere is in pure Python, too, so that any interpreter can use ours.
    path = os.pathsep.join((str(ROOT / "src"), str(Path(msgpack.__file__).parents[1])))
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": path}
    result = subprocess.run([python, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    return result.stdout.split()


def test_processes_agree_whatever_their_hash_seeds() -> None:
    mine = [run_seed(seed, nodes=(3, 5), faults=PRESETS["all"], trace=Trace()).trace_digest for seed in SEEDS]
    assert len(set(mine)) == len(SEEDS)
    for hash_seed in (0, 1, 2):
        assert digests(sys.executable, hash_seed) == mine


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_versions_of_python_agree(version: str) -> None:
    python = _find_python(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed here")
    assert digests(python, 0) == digests(sys.executable, 1)


def _find_python(version: str) -> str | None:
    """An interpreter of that version; a pyenv shim of a version that is not chosen does not count."""
    candidates = [shutil.which(f"python{version}")]
    candidates += map(str, (Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python"))
    for candidate in candidates:
        if candidate is None:
            continue
        ask = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        answer = subprocess.run(ask, capture_output=True, text=True, check=False)
        if answer.stdout.strip() == version:
            return candidate
    return None


def test_the_trace_digest_is_of_its_lines() -> None:
    lines: list[str] = []
    trace = Trace(lines.append)
    outcome = run_seed(3, nodes=(3, 3), faults=PRESETS["all"], trace=trace)
    assert len(lines) == trace.lines
    again = Trace()
    for line in lines:
        time, node, text = line.rstrip("\n").split(" ", 2)
        again.line(float(time), int(node[1:]) if node != "--" else 0, text)
    assert again.digest == outcome.trace_digest
    text = "".join(lines)
    for part in ("turn, ", " from 10.0.0.", "timer", "to all: join", "persist ring number", "* life 1: started", "= 0"):
        assert part in text


def test_tracing_changes_nothing() -> None:
    traced = run_seed(5, nodes=(2, 5), faults=PRESETS["all"], trace=Trace())
    plain = run_seed(5, nodes=(2, 5), faults=PRESETS["all"])
    assert plain.history == traced.history
    assert plain.trace_digest == ""
