"""The recorders' files as one history (totemd.sim.history), the form that the simulator's checkers read.

A life of the history is one connection of a recorder. It ends with its daemon; where the daemon lived on, the recorder
was cut off, which ends the life like a crash. A message that had no answer yet when the life ended counts
as accepted: the daemon may have sent it.

Lives have no `Started`: their recorders find daemons that have been in rings before. Clients of real nodes hear of no
transitional configurations, and of regular ones late, or never if the next one came first. Whether their configurations
are in the history is the caller's choice: with them only that holds which is said about the end of a history, or about
which ring came before which.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from totemd.ids import NodeId, RingId
from totemd.sim.history import (
    Accepted,
    Configured,
    Delivered,
    End,
    Ended,
    Event,
    GroupChanged,
    LifeId,
    MessageId,
    QuorumChanged,
    Synchronized,
)
from totemd.totem.api import ConfigurationKind
from totemd_chaos.ring import DaemonRun

STOPPED = "stopped"
"""The reason with which a recorder ends that was told to."""

END_SLACK_S = 4.0
"""A daemon that closes its clients' connections ends at most so much later: it waits for them to read."""


@dataclass
class Reading:
    """The state of one file's conversion."""

    node: NodeId
    ours: bool
    configurations: bool
    """Whether its configurations are wanted."""
    ends: list[tuple[float, End, str]]
    """When and how the node's daemons ended, ascending."""
    life: LifeId = 0
    unanswered: tuple[int, bool] | None = None
    cut: bool = False
    found: bool = False
    ring: RingId | None = None
    """The ring in which the recorder found its daemon, as long as that is all that is known."""
    cuts: list[str] = field(default_factory=list)
    """Connections that were lost without the daemon's end."""
    changes: list[Configured] = field(default_factory=list)
    configured: bool = False
    held: list[Event] = field(default_factory=list)
    """What a real node's client heard before its first configuration."""


@dataclass
class Recordings:
    """What the files of one round say."""

    events: list[Event]
    cuts: list[str]
    changes: list[Configured]
    """Of our nodes, without the configurations in which a recorder found its daemon."""


def read_recordings(
    paths: Iterable[Path], kinds: str, runs: Iterable[DaemonRun], *, real_configurations: bool = False
) -> Recordings:
    """All events of these files (one for each node, by number), by time."""
    runs = list(runs)
    events: list[Event] = []
    cuts: list[str] = []
    changes: list[Configured] = []
    for node, path in enumerate(paths, 1):
        ours = kinds[node - 1] == "T"
        reading = Reading(node, ours, ours or real_configurations, ends_of(run for run in runs if run.node == node))
        with path.open() as file:
            events += _read(file, reading)
        events += reading.held
        cuts += reading.cuts
        changes += reading.changes
    # Stable: the events of a life stay in their order.
    events.sort(key=lambda event: event.time)
    changes.sort(key=lambda event: event.time)
    return Recordings(events, cuts, changes)


def ends_of(runs: Iterable[DaemonRun]) -> list[tuple[float, End, str]]:
    """When and how daemons ended."""
    found = []
    for run in runs:
        if run.ended is None:
            continue
        how = End.CRASH if run.status is not None and run.status < 0 else End.LEAVE if run.asked else End.EXIT
        found.append((run.ended, how, f"status {run.status}"))
    return sorted(found, key=lambda end: end[0])


def _read(lines: Iterable[str], reading: Reading) -> Iterator[Event]:
    for line in lines:
        if not line.endswith("\n"):
            return
        time_word, kind, *words = line.split(" ")
        words[-1] = words[-1].rstrip("\n")
        events = _READERS[kind](reading, float(time_word), words)
        if reading.ours:
            yield from events
        else:
            yield from _in_place(reading, kind, list(events))


def _in_place(reading: Reading, kind: str, events: list[Event]) -> Iterator[Event]:
    """The same events, but the first configuration, in which the recorder found its daemon, before the own join: real
    nodes tell it right after."""
    if kind == "L":
        reading.configured, reading.held = False, []
    elif kind == "C" and not reading.configured:
        reading.configured = True
        yield from (replace(event, time=reading.held[0].time) if reading.held else event for event in events)
        yield from reading.held
        reading.held = []
        return
    elif not reading.configured and kind != "X":
        reading.held += events
        return
    yield from reading.held
    reading.held = []
    yield from events


def _started(reading: Reading, time: float, words: list[str]) -> Iterator[Event]:
    reading.life = int(words[0])
    reading.unanswered = None
    # The same daemon's rings of before belong to the former life.
    reading.found = not reading.cut
    reading.ring = None
    reading.cut = False
    yield from ()


def _asked(reading: Reading, time: float, words: list[str]) -> Iterator[Event]:
    reading.unanswered = int(words[0]), words[1] == "1"
    yield from ()


def _answered(reading: Reading, time: float, words: list[str]) -> Iterator[Event]:
    assert reading.unanswered is not None
    number, safe = reading.unanswered
    reading.unanswered = None
    yield Accepted(time, reading.node, reading.life, (reading.life, number), safe)


def _refused(reading: Reading, time: float, words: list[str]) -> Iterator[Event]:
    reading.unanswered = None
    yield from ()


def _delivered(reading: Reading, time: float, words: list[str]) -> Iterator[Event]:
    nodeid, pid, life, number, safe, length, checksum = words
    message: MessageId = int(life), int(number)
    digest = bytes.fromhex(checksum) + int(length).to_bytes(4, "big")
    yield Delivered(time, reading.node, reading.life, message, (int(nodeid), int(pid)), safe == "1", digest)


def _view(reading: Reading, time: float, words: list[str]) -> Iterator[Event]:
    members, joined, left = (_split(word) for word in words)
    if reading.ring is not None:
        # A join is taken once synchronization is complete, which was before the recorder came.
        yield Synchronized(time, reading.node, reading.life, reading.ring)
        reading.ring = None
    yield GroupChanged(
        time,
        reading.node,
        reading.life,
        tuple((int(nodeid), int(pid)) for nodeid, pid in members),
        tuple((int(nodeid), int(pid), reason) for nodeid, pid, reason in joined),
        tuple((int(nodeid), int(pid), reason) for nodeid, pid, reason in left),
    )


def _configured(reading: Reading, time: float, words: list[str]) -> Iterator[Event]:
    if not reading.configurations:
        return
    event = _configuration(reading, time, words)
    reading.ring = None
    yield event
    if reading.ours:
        reading.changes.append(event)
    else:
        yield Synchronized(time, reading.node, reading.life, event.ring)


def _found(reading: Reading, time: float, words: list[str]) -> Iterator[Event]:
    if reading.found:
        event = _configuration(reading, time, words)
        reading.ring = event.ring
        yield event


def _configuration(reading: Reading, time: float, words: list[str]) -> Configured:
    lists = (_ids(word) for word in words[2:])
    return Configured(time, reading.node, reading.life, ConfigurationKind(words[0]), _ring(words[1]), *lists)


def _synchronized(reading: Reading, time: float, words: list[str]) -> Iterator[Event]:
    reading.ring = None
    yield Synchronized(time, reading.node, reading.life, _ring(words[0]))


def _quorum(reading: Reading, time: float, words: list[str]) -> Iterator[Event]:
    yield QuorumChanged(time, reading.node, reading.life, words[0] == "1", _ring(words[1]), _ids(words[2]))


def _ended(reading: Reading, time: float, words: list[str]) -> Iterator[Event]:
    if not reading.life:
        return
    if reading.unanswered is not None:
        number, safe = reading.unanswered
        yield Accepted(time, reading.node, reading.life, (reading.life, number), safe)
    reason = " ".join(words)
    if reason.startswith(STOPPED):
        return
    found = min(reading.ends, key=lambda end: abs(end[0] - time), default=None)
    if found is not None and abs(found[0] - time) < END_SLACK_S:
        _, how, text = found
    else:
        how, text = End.CRASH, f"the recorder was cut off: {reason}"
        reading.cut = True
        reading.cuts.append(f"{time:.3f} s: node {reading.node}, life {reading.life}: {reason}")
    yield Ended(time, reading.node, reading.life, how, text)
    reading.life = 0


_READERS = {
    "L": _started,
    "A": _asked,
    "K": _answered,
    "R": _refused,
    "D": _delivered,
    "G": _view,
    "C": _configured,
    "N": _found,
    "S": _synchronized,
    "Q": _quorum,
    "X": _ended,
}


def _split(word: str) -> list[list[str]]:
    return [] if word == "-" else [item.split(":") for item in word.split(",")]


def _ids(word: str) -> tuple[NodeId, ...]:
    return () if word == "-" else tuple(map(int, word.split(",")))


def _ring(word: str) -> RingId:
    rep, _, seq = word.partition(".")
    return RingId(int(rep), int(seq))
