"""What the benchmark reads of processes and of its helpers."""

import os

from totemd_bench.probes import cpu_ns, kilobytes, memory
from totemd_bench.watch import View, parse_views, since


def test_a_line_of_proc() -> None:
    text = "VmHWM:\t    2048 kB\nVmRSS:\t     512 kB\n"
    assert (kilobytes(text, "VmRSS"), kilobytes(text, "VmHWM"), kilobytes(text, "Pss")) == (512 * 1024, 2048 * 1024, 0)


def test_this_process_uses_something() -> None:
    pid = os.getpid()
    before = cpu_ns(pid)
    found = memory(pid)
    assert 0 < found.proportional <= found.resident <= found.peak
    assert 0 < before <= cpu_ns(pid)


def test_views_are_read_up_to_the_last_whole_line() -> None:
    assert parse_views("5 7 2 1\n9 8 3 1 2\n11 9 1") == [View(5, 7, (1, 2)), View(9, 8, (1, 2, 3))]
    assert parse_views("") == []


def test_a_view_counts_from_when_it_last_came_to_be() -> None:
    both, alone = (1, 2), (1,)
    views = [View(1, 0, both), View(2, 0, alone), View(3, 0, both), View(4, 0, both)]
    assert since(views, both) == View(3, 0, both)
    assert since(views, alone) is None
    assert since([], both) is None
