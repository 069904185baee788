"""The trace of a run: one line for each packet, timer, effect and event; the same bytes for the same schedule, always.

Lines are made of integers, floats and texts only, never of hashes, addresses or the order of a set.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from totemd.ids import NodeId
from totemd.node.effects import NodeEffect
from totemd.sim.history import (
    Accepted,
    Calm,
    ChangeAnswered,
    Configured,
    Delivered,
    Ended,
    Event,
    GroupChanged,
    Measured,
    QuorumChanged,
    Started,
    Synchronized,
    VersionInForce,
)
from totemd.sim.render import effect_line, nodes_text, ring_text

NETWORK: Final = 0
"""Stands in place of a node in lines about none."""


class Trace:
    """Hands lines to `write` (each with its newline) and keeps their digest."""

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        self._write = write
        self._digest = sha256()
        self.lines = 0

    @property
    def digest(self) -> str:
        """SHA-256 of all lines so far, hexadecimal."""
        return self._digest.hexdigest()

    def line(self, time: float, node: NodeId, text: str) -> None:
        """Something happened at `time` (virtual seconds) on `node`."""
        line = f"{time:.6f} {f'n{node}' if node else '--'} {text}\n"
        self.lines += 1
        self._digest.update(line.encode())
        if self._write is not None:
            self._write(line)

    def effect(self, time: float, node: NodeId, effect: NodeEffect) -> None:
        """A node wants something done."""
        self.line(time, node, effect_line(effect))

    def event(self, event: Event) -> None:
        """Something entered the history."""
        self.line(event.time, NETWORK if isinstance(event, Calm) else event.node, f"* {event_text(event)}")


def event_text(event: Event) -> str:
    """An event of a history in words, without its time and node."""
    if isinstance(event, Calm):
        return f"calm, alive: {nodes_text(event.nodes)}"
    return f"life {event.life}: {_life_event_text(event)}"


def _life_event_text(event: Event) -> str:
    match event:
        case Started():
            return f"started, ring number on disk {event.stored_ring_seq}"
        case Ended():
            return f"ended by {event.how.value}: {event.reason}"
        case Configured():
            members = f"members={nodes_text(event.members)} joined={nodes_text(event.joined)}"
            return f"{event.kind.value} {ring_text(event.ring)} {members} left={nodes_text(event.left)}"
        case Accepted():
            return f"accepted {event.message[0]}.{event.message[1]} {_guarantee(event.safe)}"
        case Delivered():
            ident = f"{event.message[0]}.{event.message[1]} {_guarantee(event.safe)}"
            return f"delivered {ident} from {event.sender[0]}:{event.sender[1]} {event.digest.hex()}"
        case GroupChanged():
            members = " ".join(f"{node}:{pid}" for node, pid in event.members)
            joined = " ".join(f"+{node}:{pid}:{reason}" for node, pid, reason in event.joined)
            left = " ".join(f"-{node}:{pid}:{reason}" for node, pid, reason in event.left)
            return f"group [{members}] {joined}{left}"
        case QuorumChanged():
            word = "quorate" if event.quorate else "not quorate"
            return f"{word} {ring_text(event.ring)} members={nodes_text(event.members)}"
        case VersionInForce():
            behind = "" if event.committed == event.version else f", back from {event.committed}"
            return f"configuration {event.version} {event.ident.hex()[:8]} in force{behind}"
        case ChangeAnswered():
            return f"change {event.ident.hex()[:8]} {event.word} as {event.version}"
        case Measured():
            return f"{event.name} holds {event.amount} of at most {event.bound}"
        case Synchronized():
            return f"synchronized {ring_text(event.ring)}"
        case Calm():
            return "calm"


def _guarantee(safe: bool) -> str:
    return "safe" if safe else "agreed"
