"""A process group's member for the tests, on totemd.client; the twin of tests/lab/cpg_load.c, which explains the lines.

python -m totemd_lab.cpg_load SOCKET agreed|safe GROUP COMPLETE SIZES EXPECTED SECONDS OUT SENT
"""

import random
import signal
import sys
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import trio

from totemd.client import Delivered, Group, GroupChange, GroupMember, MembersChanged, open_client

TIMED_OUT = 3


@dataclass
class Recorder:
    """Writes down deliveries and membership changes from the moment the group is complete."""

    out: TextIO
    complete: int
    expected: int
    delivered: int = 0
    recording: bool = False

    def finished(self) -> bool:
        """Whether everything expected has arrived."""
        return bool(self.expected) and self.delivered >= self.expected

    def change(self, event: MembersChanged) -> None:
        """Record a membership change."""
        self.recording = self.recording or len(event.members) >= self.complete
        if self.recording:
            self._write(f"C {_list(event.members)} +{_list(event.joined)} -{_list(event.left)}")

    def deliver(self, event: Delivered) -> None:
        """Record a message."""
        if self.recording:
            self._write(f"M {event.nodeid} {event.pid} {len(event.data)} {zlib.crc32(event.data):08x}")
            self.delivered += 1

    def _write(self, line: str) -> None:
        print(line, file=self.out, flush=not self.expected)


def _list(members: Iterable[GroupMember | GroupChange]) -> str:
    pairs = sorted((member.nodeid, member.pid) for member in members)
    return ",".join(f"{nodeid}:{pid}" for nodeid, pid in pairs)


async def receive(group: Group, recorder: Recorder, complete: trio.Event) -> None:
    """Record until everything expected has arrived."""
    async for event in group:
        if isinstance(event, MembersChanged):
            print("J", flush=True)
            recorder.change(event)
        elif isinstance(event, Delivered):
            recorder.deliver(event)
        if recorder.recording:
            complete.set()
        if recorder.finished():
            return


async def send(group: Group, sizes: Iterable[int], sent: TextIO, *, safe: bool) -> None:
    """Send one message of each size."""
    for size in sizes:
        data = random.randbytes(size)
        # Written first: the last delivery may come before the daemon's reply and ends the program.
        print(f"S {size} {zlib.crc32(data):08x}", file=sent, flush=True)
        await group.multicast(data, safe=safe)


async def run(socket: str, guarantee: str, name: str, sizes: list[int], recorder: Recorder, sent: TextIO) -> None:
    """Join, send, record."""
    complete = trio.Event()
    async with open_client(socket) as client, client.join(name) as group, trio.open_nursery() as nursery:

        async def sender() -> None:
            await complete.wait()
            await send(group, sizes, sent, safe=guarantee == "safe")

        async def stopper() -> None:
            with trio.open_signal_receiver(signal.SIGTERM) as signals:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

        nursery.start_soon(sender)
        nursery.start_soon(stopper)
        await receive(group, recorder, complete)
        nursery.cancel_scope.cancel()


def main() -> int:
    """The command."""
    socket, guarantee, name, complete, sizes_file, expected, seconds, out_file, sent_file = sys.argv[1:]
    sizes = [int(line) for line in Path(sizes_file).read_text().split()]
    with Path(out_file).open("w") as out, Path(sent_file).open("w") as sent:
        recorder = Recorder(out, int(complete), int(expected))

        async def bounded() -> None:
            with trio.move_on_after(float(seconds)):
                await run(socket, guarantee, name, sizes, recorder, sent)

        trio.run(bounded)
    return 0 if not recorder.expected or recorder.finished() else TIMED_OUT


if __name__ == "__main__":
    sys.exit(main())
