"""What the kernel says of a process: processor time and memory."""

import os
import re
from dataclasses import dataclass
from pathlib import Path


def cpu_ns(pid: int) -> int:
    """Processor time of all its threads so far, nanoseconds. Raises OSError when it is gone."""
    directory = f"/proc/{pid}/task"
    total = 0
    for thread in os.listdir(directory):
        total += int(Path(f"{directory}/{thread}/schedstat").read_text().split()[0])
    return total


@dataclass(frozen=True)
class Memory:
    """Bytes of a process."""

    resident: int
    proportional: int
    """Resident, with what is shared counted in parts."""
    peak: int
    """The most that was ever resident."""


def memory(pid: int) -> Memory:
    """Of a process now. Raises OSError when it is gone."""
    status = Path(f"/proc/{pid}/status").read_text()
    return Memory(
        resident=kilobytes(status, "VmRSS"),
        proportional=kilobytes(Path(f"/proc/{pid}/smaps_rollup").read_text(), "Pss"),
        peak=kilobytes(status, "VmHWM"),
    )


def kilobytes(text: str, key: str) -> int:
    """A line "KEY:  123 kB" of a file in /proc, in bytes; 0 if there is none."""
    found = re.search(rf"^{key}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
