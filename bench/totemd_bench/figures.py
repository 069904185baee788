"""What is made of the numbers that were measured, and what each figure is called."""

import math
import statistics
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Figures: TypeAlias = dict[str, float]
"""Those of one round of a cell, by the names in KINDS. One that cannot be told is missing."""


@dataclass(frozen=True)
class Kind:
    """A kind of figure."""

    title: str
    unit: str
    lower_is_better: bool = True


KINDS: Final[Mapping[str, Kind]] = {
    "own_p50": Kind("p50 at the sender", "us"),
    "own_p99": Kind("p99 at the sender", "us"),
    "own_p999": Kind("p99.9 at the sender", "us"),
    "far_p50": Kind("p50 at the farthest", "us"),
    "far_p99": Kind("p99 at the farthest", "us"),
    "far_p999": Kind("p99.9 at the farthest", "us"),
    "rate": Kind("messages", "1/s", lower_is_better=False),
    "throughput": Kind("throughput", "MB/s", lower_is_better=False),
    "cpu_per_message": Kind("processor time per delivered message", "us"),
    "idle_cpu": Kind("processor", "%"),
    "rss": Kind("resident memory", "MiB"),
    "pss": Kind("proportional memory", "MiB"),
    "peak": Kind("peak of resident memory", "MiB"),
    "duration": Kind("until all agree", "s"),
    "from_start": Kind("from the first process's start", "s"),
    "from_first_packet": Kind("from the first daemon's first packet", "s"),
    "from_last_packet": Kind("from the last daemon's first packet", "s"),
    "start_cpu": Kind("processor time of a daemon", "s"),
}

SHARES: Final = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
SAMPLES_BEYOND: Final = 1
"""So many samples must be left above a percentile for it to be told."""


def percentile(ascending: Sequence[int], share: float) -> int | None:
    """The smallest value that at least this share of all does not exceed; None if there are too few to tell."""
    rank = math.ceil(share * len(ascending))
    if rank < 1 or len(ascending) - rank < SAMPLES_BEYOND:
        return None
    return ascending[rank - 1]


def latency_figures(records: Sequence["array[int]"], nodes_of_senders: Sequence[int]) -> Figures:
    """Of one round: the records of all nodes, each as load.h writes them, in the common order of delivery.

    `nodes_of_senders` has for each sender the place of its own node's records. Raises ValueError when the records
    are not of the same messages.
    """
    first = records[0]
    senders, sent = first[0::3], first[1::3]
    if any(other[0::3] != senders or other[1::3] != sent for other in records[1:]):
        raise ValueError("the nodes do not have the same messages in the same order")
    delivered = [record[2::3] for record in records]
    own = sorted(delivered[nodes_of_senders[s]][i] - sent[i] for i, s in enumerate(senders))
    far = sorted(max(times) - at for at, times in zip(sent, zip(*delivered, strict=True), strict=True))
    found: Figures = {}
    for prefix, latencies in (("own", own), ("far", far)):
        for name, share in SHARES.items():
            value = percentile(latencies, share)
            if value is not None:
                found[f"{prefix}_{name}"] = value / 1000
    return found


@dataclass(frozen=True)
class ClientReport:
    """What a client says at its end; load.h explains it."""

    delivered: int
    first_sent: int
    last_delivered: int
    cpu: int
    order: int


def parse_client(text: str) -> ClientReport:
    """Read a client's last line. Raises ValueError if it is something else."""
    lines = text.strip().splitlines()
    pairs = dict(word.split("=", 1) for word in (lines[-1] if lines else "").split())
    try:
        return ClientReport(*(int(pairs[name]) for name in ClientReport.__dataclass_fields__))
    except KeyError:
        raise ValueError(f"no report: {text[-200:]!r}") from None


def load_figures(reports: Sequence[ClientReport], size_bytes: int) -> Figures:
    """Of one round: rates at the slowest node, and the daemons' processor time for a message at a node.

    Raises ValueError when the nodes differ in what they delivered.
    """
    first = reports[0]
    if any((r.delivered, r.order) != (first.delivered, first.order) for r in reports):
        raise ValueError("the nodes do not have the same messages in the same order")
    if not first.delivered:
        raise ValueError("nothing was delivered")
    elapsed_s = (max(r.last_delivered for r in reports) - min(r.first_sent for r in reports)) / 1e9
    rate = first.delivered / elapsed_s
    cpu_ns = sum(r.cpu for r in reports) / len(reports)
    return {
        "rate": rate,
        "throughput": rate * size_bytes / 1e6,
        "cpu_per_message": cpu_ns / first.delivered / 1000,
    }


def medians(rounds: Sequence[Figures]) -> Figures:
    """Each figure's median over the rounds that have it."""
    return {name: statistics.median(found) for name in KINDS if (found := [one[name] for one in rounds if name in one])}


def ratio(ours: float, theirs: float) -> float | None:
    """None where there is nothing to compare with."""
    return ours / theirs if theirs else None
