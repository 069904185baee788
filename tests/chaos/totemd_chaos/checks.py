"""What is demanded besides the properties of the history: logs without tracebacks, memory and descriptors that do not
grow, and daemons that end only when they are told to, as they are told to."""

import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median

from totemd_chaos.ring import ChaosRing, DaemonRun, Sample
from totemd_lab.nodes import Node

MEBIBYTE = 1024 * 1024

WARM_UP_S = 20.0
"""Of a daemon's life: it loads code, fills its windows and allocates its buffers."""

FOLLOWED_S = 40.0
"""Only daemons that ran for so long after that are held to flat memory."""

RSS_GROWTH_MAX_BYTES = 12 * MEBIBYTE
"""From the first quarter of what was followed to the last one (medians)."""

RSS_MAX_BYTES = 256 * MEBIBYTE

DESCRIPTORS_GROWTH_MAX = 8
"""Above the first quarter's median: the guests, and questions about the daemon's status, come and go."""


START_S = 5.0
"""Within this a daemon may still be loading code when it is asked to stop, and ends by the signal itself."""


@dataclass(frozen=True)
class Complaint:
    """Something that is not as demanded."""

    property: str
    text: str


@dataclass(frozen=True)
class Usage:
    """What one long-lived daemon occupied."""

    node: int
    seconds: float
    rss_first_bytes: int
    rss_last_bytes: int
    rss_max_bytes: int
    descriptors_first: int
    descriptors_max: int
    cpu_share: float
    rss_by_minute_bytes: tuple[int, ...]
    """At the end of each minute of its life."""


def usage_of(run: DaemonRun) -> Usage | None:
    """None for a daemon that did not live long enough to say."""
    samples = [sample for sample in run.samples if sample.time >= run.started + WARM_UP_S]
    if len(samples) < 4 or samples[-1].time - samples[0].time < FOLLOWED_S:
        return None
    quarter = max(1, len(samples) // 4)
    first, last = samples[:quarter], samples[-quarter:]
    seconds = samples[-1].time - samples[0].time
    return Usage(
        run.node,
        round(run.samples[-1].time - run.started, 1),
        _rss(first),
        _rss(last),
        max(sample.rss_bytes for sample in run.samples),
        int(median(sample.descriptors for sample in first)),
        max(sample.descriptors for sample in samples),
        round((samples[-1].cpu_s - samples[0].cpu_s) / seconds, 3),
        tuple(_rss(minute) for minute in _minutes(run)),
    )


def _minutes(run: DaemonRun) -> Iterator[list[Sample]]:
    """The last ten seconds of each minute of its life."""
    for minute in range(1, int((run.samples[-1].time - run.started) / 60) + 1):
        end = run.started + 60 * minute
        if found := [sample for sample in run.samples if end - 10 <= sample.time <= end]:
            yield found


def _rss(samples: list[Sample]) -> int:
    return int(median(sample.rss_bytes for sample in samples))


def resource_faults(runs: Iterable[DaemonRun]) -> Iterator[Complaint]:
    """Memory and descriptors of our daemons."""
    for run in runs:
        if run.kind != "T":
            continue
        highest = max((sample.rss_bytes for sample in run.samples), default=0)
        if highest > RSS_MAX_BYTES:
            yield Complaint("memory", f"node {run.node} occupied {highest / MEBIBYTE:.0f} MiB")
        usage = usage_of(run)
        if usage is None:
            continue
        growth = usage.rss_last_bytes - usage.rss_first_bytes
        if growth > RSS_GROWTH_MAX_BYTES:
            text = f"node {run.node} grew by {growth / MEBIBYTE:.1f} MiB in {usage.seconds:.0f} s"
            yield Complaint("memory", text)
        if usage.descriptors_max - usage.descriptors_first > DESCRIPTORS_GROWTH_MAX:
            text = f"node {run.node} had {usage.descriptors_max} descriptors open, {usage.descriptors_first} at first"
            yield Complaint("descriptors", text)


def exit_faults(runs: Iterable[DaemonRun]) -> Iterator[Complaint]:
    """Ends of our daemons."""
    for run in runs:
        if run.kind != "T" or run.ended is None:
            continue
        killed = signal.SIGKILL in run.asked and run.status == -signal.SIGKILL
        started = run.ended - run.started > START_S
        stopped = signal.SIGTERM in run.asked and (run.status == 0 or (run.status == -signal.SIGTERM and not started))
        if not killed and not stopped:
            asked = ", ".join(signal.Signals(number).name for number in run.asked) or "nothing"
            yield Complaint("exit status", f"node {run.node} (pid {run.pid}) ended with {run.status} after {asked}")


def own_ends(runs: Iterable[DaemonRun]) -> int:
    """How many real daemons ended without being asked to: theirs to answer for, and counted."""
    return sum(run.kind == "C" and run.ended is not None and not run.asked for run in runs)


def log_faults(ring: ChaosRing) -> Iterator[Complaint]:
    """Tracebacks in the logs of our daemons, and whatever a recorder complains about."""
    for node in ring.lab.of_kind("T"):
        yield from _tracebacks(node)
    for node in ring.lab.nodes:
        complaints = node.directory / "recorder.log"
        if complaints.exists() and (text := complaints.read_text()):
            yield Complaint("recorder", f"the recorder of node {node.nodeid}: {text[-1500:]}")


def _tracebacks(node: Node) -> Iterator[Complaint]:
    text = node.log_text(whole=True)
    for word in ("Traceback", "AssertionError", "Exception ignored", "ResourceWarning"):
        if (place := text.find(word)) >= 0:
            yield Complaint("traceback", f"node {node.nodeid} logged: {text[place : place + 3000]}")
            return
