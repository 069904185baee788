"""The loading client on totemd.client; load.h, which is the same program in C, says what it does with its arguments.

load_python.py SOCKET GROUP INDEX MEMBERS SENDERS SIZE RATE SECONDS LIMIT PID OUT

A multicast waits for the daemon's answer, so there is one of them under way at a time.
"""

import gc
import os
import signal
import struct
import sys
import time
from array import array
from pathlib import Path

from totemd.client import blocking
from totemd.client.records import Delivered, MembersChanged

HEAD = struct.Struct("=IIqq")
DATA, LAST = 1, 2
PAUSE_NS = 200_000_000
HASH_START, HASH_FACTOR, HASH_MASK = 14695981039346656037, 1099511628211, (1 << 64) - 1


def cpu_ns(pid: int) -> int:
    """Processor time of all threads of a process so far."""
    directory = Path(f"/proc/{pid}/task")
    return sum(int((directory / name / "schedstat").read_text().split()[0]) for name in os.listdir(directory))


class Recorder:
    """What has been delivered."""

    def __init__(self, senders: int, pid: int, *, recording: bool) -> None:
        self.records = array("q")
        self.delivered = 0
        self.first_sent = 0
        self.last_delivered = 0
        self.order = HASH_START
        self.ended = 0
        self.cpu_before = 0
        self._expected = [0] * senders
        self._pid = pid
        self._recording = recording
        self.ready = False

    def members(self, count: int, wanted: int) -> None:
        """The group has changed."""
        if self.ready and count < wanted and self.ended < len(self._expected):
            sys.exit("the group lost a member")
        if not self.ready and count >= wanted:
            self.ready = True
            self.cpu_before = cpu_ns(self._pid)

    def message(self, data: bytes) -> None:
        """A message has come."""
        now = time.monotonic_ns()
        kind, sender, number, sent = HEAD.unpack_from(data)
        if self._expected[sender] != number:
            sys.exit("a message is missing, repeated or out of order")
        self._expected[sender] += 1
        if kind == LAST:
            self.ended += 1
            return
        self.order = (self.order ^ sender << 48 ^ number) * HASH_FACTOR & HASH_MASK
        self.first_sent = min(self.first_sent or sent, sent)
        self.last_delivered = now
        self.delivered += 1
        if self._recording:
            self.records.extend((sender, sent, now))


def main() -> None:
    """The command."""
    socket, name = sys.argv[1:3]
    index, members, senders, size, rate = map(int, sys.argv[3:8])
    seconds, limit, pid, out = float(sys.argv[8]), int(sys.argv[9]), int(sys.argv[10]), Path(sys.argv[11])
    gc.disable()
    signal.alarm(limit)
    recorder = Recorder(senders, pid, recording=rate > 0)
    interval_ns = 1_000_000_000 * senders // rate if rate else 0
    count = max(1, int(rate * seconds / senders)) if rate else 0
    sent, next_ns, until_ns, sending = 0, 0, 0, index < senders
    with blocking.connect(socket) as client, client.join(name) as group:
        while recorder.ended < senders:
            rest_s = 1.0
            if sending and recorder.ready:
                now = time.monotonic_ns()
                if not next_ns:
                    next_ns = now + PAUSE_NS + interval_ns * index // senders
                    until_ns = next_ns + int(seconds * 1e9)
                if now >= next_ns:
                    last = sent == count if rate else now >= until_ns
                    head = HEAD.pack(LAST if last else DATA, index, sent, now)
                    group.multicast(head if last else head.ljust(size, b"\0"))
                    sending = not last
                    sent += not last
                    next_ns += interval_ns
                if sending:
                    rest_s = max(0.0, (next_ns - time.monotonic_ns()) / 1e9)
            event = group.next_event(rest_s)
            if isinstance(event, Delivered):
                recorder.message(event.data)
            elif isinstance(event, MembersChanged):
                recorder.members(len(event.members), members)
    cpu = cpu_ns(pid) - recorder.cpu_before
    if rate:
        out.write_bytes(recorder.records.tobytes())
    print(
        f"sent={sent} again=0 delivered={recorder.delivered} first_sent={recorder.first_sent} "
        f"last_delivered={recorder.last_delivered} cpu={cpu} order={recorder.order}"
    )


if __name__ == "__main__":
    main()
