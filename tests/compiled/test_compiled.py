"""The compiled form does what the plain one does: in the virtual world, the same to the byte."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

sys.path.insert(0, str(ROOT))

from hatch_build import compile_hot_modules, spell_out_records  # noqa: E402

PLAY = """
import sys
from totemd.sim.faults import PRESETS
from totemd.sim.run import run_seed
from totemd.sim.trace import Trace
import totemd.totem.core
print(totemd.totem.core.__file__)
for faults, seeds in (("all", range(1, 41)), ("sealed", range(1, 9))):
    for seed in seeds:
        outcome = run_seed(seed, nodes=(2, 9), faults=PRESETS[faults], trace=Trace())
        print(outcome.trace_digest, len(outcome.violations))
"""

RECORDS = """
from totemd.record import record

@record
class Place:
    '''Where.'''

    street: str
    number: int = 1

    def __str__(self) -> str:
        return f"{self.street} {self.number}"
"""


def test_a_record_is_spelled_out() -> None:
    plain: dict[str, type] = {}
    spelled: dict[str, type] = {}
    exec(RECORDS, plain)
    exec(spell_out_records(RECORDS), spelled)
    assert "@record" not in spell_out_records(RECORDS)
    for place in (plain["Place"], spelled["Place"]):
        assert place("a", 2) == place("a", number=2) != place("a")
        assert hash(place("a")) == hash(place("a", 1))
        assert place("a") != ("a", 1)
        assert repr(place("b")) == "Place(street='b', number=1)"
        assert str(place("b")) == "b 1"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory to import the compiled form from."""
    if shutil.which("gcc") is None:
        pytest.skip("needs a C compiler")
    directory = tmp_path_factory.mktemp("compiled")
    libraries = compile_hot_modules(ROOT, directory, effort="0")
    assert len(libraries) > 50
    shutil.copytree(ROOT / "src", directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    yield directory
    shutil.rmtree(directory)


def play(source: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PLAY],
        env=os.environ | {"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_compiled_form_plays_the_same(compiled: Path) -> None:
    (their_file, *theirs), (our_file, *ours) = play(compiled), play(ROOT / "src")
    assert their_file.endswith(".so")
    assert our_file.endswith(".py")
    assert theirs == ours
