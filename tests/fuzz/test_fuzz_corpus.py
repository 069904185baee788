"""All that fuzzing starts from and has found, through every target once more: without atheris, in seconds."""

import pytest

from fuzz_seeds import CORPUS, corpus_of, seeds_of
from fuzz_targets import TARGETS

CORPUS_BYTES_MAX = 300_000


@pytest.mark.parametrize("target", TARGETS)
def test_known_inputs_do_no_harm(target: str) -> None:
    inputs = seeds_of(target) | corpus_of(target)
    assert inputs
    for name, data in inputs.items():
        try:
            TARGETS[target](data)
        except Exception as problem:
            problem.add_note(f"input: {name}")
            raise


def test_no_target_minds_an_empty_input() -> None:
    for target in TARGETS.values():
        target(b"")


def test_the_corpus_stays_small_and_belongs_to_targets() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < CORPUS_BYTES_MAX
    assert {path.parent.name for path in files} <= set(TARGETS)
