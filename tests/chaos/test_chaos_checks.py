"""What daemons may occupy, and how they may end."""

import pytest

from totemd_chaos.checks import MEBIBYTE, exit_faults, resource_faults
from totemd_chaos.ring import DaemonRun, Sample


def run(*, status: int | None = None, lived_s: float = 60.0, asked: frozenset[int] = frozenset()) -> DaemonRun:
    ended = None if status is None else 100.0 + lived_s
    return DaemonRun(1, "T", 4, 100.0, ended=ended, status=status, asked=set(asked))


def occupied(*, growth_bytes: int = 0, descriptors: int = 0, seconds: int = 200) -> DaemonRun:
    found = run()
    for second in range(0, seconds, 2):
        rss = 40 * MEBIBYTE + growth_bytes * second // seconds
        found.samples.append(Sample(100.0 + second, rss, 12 + descriptors * second // seconds, second / 10))
    return found


@pytest.mark.parametrize(
    ("daemon", "good"),
    [
        (run(), True),
        (run(status=-9, asked=frozenset({9})), True),
        (run(status=0, asked=frozenset({15})), True),
        (run(status=-9, asked=frozenset({9, 15})), True),
        (run(status=-15, lived_s=0.5, asked=frozenset({15})), True),
        (run(status=-15, asked=frozenset({15})), False),
        (run(status=1, asked=frozenset({15})), False),
        (run(status=0), False),
        (run(status=1), False),
        (run(status=-9), False),
        (run(status=-6, asked=frozenset({9})), False),
    ],
)
def test_daemons_end_as_they_are_told_to(daemon: DaemonRun, good: bool) -> None:
    assert (list(exit_faults([daemon])) == []) == good


def test_memory_and_descriptors_are_flat() -> None:
    assert list(resource_faults([occupied()])) == []
    assert [found.property for found in resource_faults([occupied(growth_bytes=40 * MEBIBYTE)])] == ["memory"]
    assert [found.property for found in resource_faults([occupied(descriptors=20)])] == ["descriptors"]
    assert list(resource_faults([occupied(growth_bytes=40 * MEBIBYTE, seconds=40)])) == []
