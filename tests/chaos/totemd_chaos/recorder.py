"""A client of one node that joins the group, multicasts all the time, and writes down all that it sees, with the time.

python -m totemd_chaos.recorder SOCKET NODEID FIRST_LIFE RATE_PER_S SEED OUT

It speaks the native socket's protocol itself: group and tracker are on one connection, so that configurations, messages
and views stand in the file in the order in which the daemon told them; totemd.client would sort them into queues. After
each loss of the connection it connects again as a new process with a new life id. SIGUSR1: send no more. SIGUSR2: send
again. SIGTERM: end. The lines, each after a time (CLOCK_MONOTONIC, seconds):

  L <life> <pid> <nodeid> <incarnation>   connected and asked to join; all that follows is of this life
  A <number> <safe>                       gives the daemon a message to multicast
  K <number>                              it took it
  R <number>                              it refused it ("try again"), so the number is used again
  D <nodeid> <pid> <life> <number> <safe> <length> <crc32>    delivered
  G <members> <joined> <left>             the group's view: <nodeid>:<pid>[:<reason>],... or -
  C <kind> <rep>.<seq> <members> <joined> <left>    a configuration
  N ...                                   the same, for the configuration in which the daemon was already
  S <rep>.<seq>                           synchronized
  Q <0|1> <rep>.<seq> <members>           quorum
  X <reason>                              the connection ended
"""

import random
import selectors
import signal
import socket
import sys
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from struct import Struct
from typing import TextIO

from totemd.client import requests
from totemd.client.errors import TotemdClientError, TryAgain
from totemd.client.protocol import ClientProtocol, Incoming, Pushed, Ready, Reply
from totemd.client.records import (
    Delivered,
    GroupChange,
    GroupMember,
    MembersChanged,
    Membership,
    QuorumStatus,
    Synchronized,
    Welcome,
)
from totemd.ids import NodeId

GROUP = "chaos"
TAG = Struct("<4sIIBxxx")
"""Begins every message: MAGIC, life, number, whether it is safe."""
MAGIC = b"chao"
RETRY_S = 0.1
RECONNECT_S = 0.02
SAFE_SHARE = 0.3
FLUSH_S = 0.5

SIZES = ((0.70, 16, 300), (0.22, 300, 4000), (0.075, 4000, 60_000), (0.005, 60_000, 300_000))
"""Shares of messages of these lengths, bytes."""


def tag_of(data: bytes) -> tuple[int, int, bool]:
    """Life, number and guarantee of a message; ValueError if it is none of ours."""
    if len(data) < TAG.size or not data.startswith(MAGIC):
        raise ValueError("not a message of this program")
    _, life, number, safe = TAG.unpack_from(data)
    return life, number, bool(safe)


def draw_size(source: random.Random) -> int:
    """The length of the next message."""
    chance = source.random()
    for share, low, high in SIZES:
        chance -= share
        if chance < 0:
            return source.randint(low, high)
    return SIZES[0][1]


class Recording:
    """The file. Written in pieces; complete after `flush`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._flush_at = 0.0

    def line(self, text: str) -> None:
        now = time.monotonic()
        self._out.write(f"{now:.6f} {text}\n")
        if now >= self._flush_at:
            self.flush()
            self._flush_at = now + FLUSH_S

    def flush(self) -> None:
        self._out.flush()


class Sender:
    """Draws messages and when to send them. One at a time is with the daemon: so their order is that of the numbers."""

    def __init__(self, life: int, rate_per_s: float, source: random.Random) -> None:
        self._life = life
        self._rate_per_s = rate_per_s
        self._random = source
        self.number = 0
        self.data = b""
        self.safe = False
        self.due = time.monotonic()
        self.asked = 0
        """The request that is under way; 0: none."""

    def draw(self) -> None:
        """The next message."""
        self.safe = self._random.random() < SAFE_SHARE
        head = TAG.pack(MAGIC, self._life, self.number, self.safe)
        self.data = head + self._random.randbytes(draw_size(self._random))

    def accepted(self) -> None:
        """Go on to the next number."""
        self.number += 1
        self.data = b""
        self.asked = 0
        # Never faster than twice the rate after a stop: the backlog is not made up for.
        self.due = max(self.due, time.monotonic() - 1.0 / self._rate_per_s)
        self.due += self._random.expovariate(self._rate_per_s)


class Life:
    """One connection, from its hello to its end."""

    def __init__(
        self, connection: socket.socket, life: int, nodeid: NodeId, recording: Recording, sender: Sender
    ) -> None:
        self._connection = connection
        self._life = life
        self._nodeid = nodeid
        self._recording = recording
        self._sender = sender
        self._protocol = ClientProtocol("chaos")
        self._out = bytearray(self._protocol.hello())
        self._join = 0
        self._track = 0
        self._member = False
        self._rejoin_at = 0.0
        self._selector = selectors.DefaultSelector()
        connection.setblocking(False)

    def run(self, switch: "Switch") -> None:
        """Send and record until the connection ends; raises TotemdClientError or OSError then."""
        self._selector.register(self._connection, selectors.EVENT_READ)
        while not switch.ended:
            self._send_what_is_due(switch)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
            self._selector.modify(self._connection, events)
            happened = self._selector.select(self._patience_s(switch))
            if not happened:
                self._recording.flush()
            for _, ready in happened:
                if ready & selectors.EVENT_WRITE:
                    del self._out[: self._connection.send(self._out)]
                if ready & selectors.EVENT_READ:
                    self._read()

    def _read(self) -> None:
        data = self._connection.recv(262_144)
        if not data:
            raise self._protocol.ended()
        self._protocol.append(data)
        while (incoming := self._protocol.take()) is not None:
            self._take(incoming)

    def _patience_s(self, switch: "Switch") -> float:
        now = time.monotonic()
        if not self._join and self._rejoin_at:
            return max(0.0, self._rejoin_at - now)
        if self._member and switch.sending and not self._sender.asked:
            return min(max(0.0, self._sender.due - now), 0.2)
        return 0.2

    def _send_what_is_due(self, switch: "Switch") -> None:
        now = time.monotonic()
        sender = self._sender
        if not self._join and self._rejoin_at and now >= self._rejoin_at:
            self._join, frame = self._protocol.request(
                requests.Request("cpg_join", {"group": GROUP.encode(), "pid": self._life}, lambda value: value)
            )
            self._out += frame
        if self._member and switch.sending and not sender.asked and now >= sender.due:
            if not sender.data:
                sender.draw()
            self._recording.line(f"A {sender.number} {sender.safe:d}")
            multicast = requests.cpg_multicast(GROUP.encode(), sender.data, safe=sender.safe)
            sender.asked, frame = self._protocol.request(multicast)
            self._out += frame

    def _take(self, incoming: Incoming) -> None:
        if isinstance(incoming, Welcome):
            self._recording.line(f"L {self._life} {self._life} {incoming.nodeid} {incoming.incarnation}")
            # First the tracker: what it says of the present comes before all that changes.
            self._track, frame = self._protocol.request(requests.track())
            self._out += frame
            self._rejoin_at = time.monotonic()
        elif isinstance(incoming, Reply):
            self._take_reply(incoming)
        elif isinstance(incoming, Pushed):
            self._take_event(incoming.event)
        elif isinstance(incoming, Ready):
            self._rejoin_at = self._sender.due = min(self._sender.due, time.monotonic())

    def _take_reply(self, reply: Reply) -> None:
        if reply.id == self._track:
            if reply.error is not None:
                raise reply.error
            for event in requests.track().decode(reply.value):
                self._take_event(event, configuration="N")
        elif reply.id == self._join:
            if isinstance(reply.error, TryAgain):
                self._join, self._rejoin_at = 0, time.monotonic() + RETRY_S
            elif reply.error is not None:
                raise reply.error
            else:
                self._member = True
        elif reply.id == self._sender.asked:
            if reply.error is None:
                self._recording.line(f"K {self._sender.number}")
                self._sender.accepted()
            elif isinstance(reply.error, TryAgain):
                self._recording.line(f"R {self._sender.number}")
                self._sender.asked, self._sender.due = 0, time.monotonic() + RETRY_S
            else:
                raise reply.error

    def _take_event(self, event: object, configuration: str = "C") -> None:
        line = self._recording.line
        if isinstance(event, Delivered):
            try:
                life, number, safe = tag_of(event.data)
            except ValueError:
                life, number, safe = 0, 0, False
            line(
                f"D {event.nodeid} {event.pid} {life} {number} {safe:d} {len(event.data)} {zlib.crc32(event.data):08x}"
            )
        elif isinstance(event, MembersChanged):
            line(f"G {_processes(event.members)} {_processes(event.joined)} {_processes(event.left)}")
        elif isinstance(event, Membership):
            lists = f"{_ids(event.members)} {_ids(event.joined)} {_ids(event.left)}"
            line(f"{configuration} {event.kind} {event.ring.rep}.{event.ring.seq} {lists}")
        elif isinstance(event, Synchronized):
            line(f"S {event.ring.rep}.{event.ring.seq}")
        elif isinstance(event, QuorumStatus):
            members = _ids(node.nodeid for node in event.nodes if node.state == "member")
            line(f"Q {event.quorate:d} {event.ring.rep}.{event.ring.seq} {members}")


class Switch:
    """What the signals turn."""

    def __init__(self) -> None:
        self.sending = True
        self.ended = False
        signal.signal(signal.SIGUSR1, lambda *_: self.turn(sending=False))
        signal.signal(signal.SIGUSR2, lambda *_: self.turn(sending=True))
        signal.signal(signal.SIGTERM, lambda *_: self.end())

    def turn(self, *, sending: bool) -> None:
        self.sending = sending

    def end(self) -> None:
        self.ended = True


def _processes(members: Iterable[GroupMember | GroupChange]) -> str:
    words = (
        f"{member.nodeid}:{member.pid}" + (f":{member.reason}" if isinstance(member, GroupChange) else "")
        for member in members
    )
    return ",".join(words) or "-"


def _ids(nodes: Iterable[NodeId]) -> str:
    return ",".join(map(str, nodes)) or "-"


def connect(path: str) -> socket.socket | None:
    """A connection, or None while nobody listens."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    return connection


def main() -> int:
    """The command."""
    path, nodeid, first_life, rate_per_s, seed, out = sys.argv[1:]
    switch = Switch()
    life = int(first_life)
    with Path(out).open("a") as file:
        recording = Recording(file)
        while not switch.ended:
            connection = connect(path)
            if connection is None:
                time.sleep(RECONNECT_S)
                continue
            source = random.Random(f"{seed} {life}")
            sender = Sender(life, float(rate_per_s), source)
            with connection:
                try:
                    Life(connection, life, int(nodeid), recording, sender).run(switch)
                    reason = "stopped"
                except (TotemdClientError, OSError) as error:
                    reason = str(error)
            recording.line(f"X {reason}")
            recording.flush()
            life += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
