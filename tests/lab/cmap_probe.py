"""A program that asks a daemon's cmap through libcmap.so.4 whatever may go wrong, and prints what comes of it.

One line "<what>: <code> <more>" for each call. Two daemons that behave alike give the same lines; what differs between
any two runs (process ids, times) is not printed. It loads libcmap itself, so it runs in the daemon's namespaces.
"""

import ctypes as c
import select
from collections.abc import Callable

DELETE, MODIFY, ADD, PREFIX = 1, 2, 4, 8
OK = 1
TYPES = {"i8": 1, "u8": 2, "i16": 3, "u16": 4, "i32": 5, "u32": 6, "i64": 7, "u64": 8, "flt": 9, "dbl": 10}
STRING, BINARY = 11, 12
EVENT_S = 0.02
"""Within this a client sees an event that the daemon has sent."""


class Value(c.Structure):
    _fields_ = (("type", c.c_int), ("len", c.c_size_t), ("data", c.c_void_p))


NOTIFY = c.CFUNCTYPE(
    None, c.c_uint64, c.c_uint64, c.c_int32, c.c_char_p, Value, Value, c.c_void_p
)  # handle, track handle, event, key, new, old, user data


class Probe:
    """One connection."""

    def __init__(self, number: int = 0) -> None:
        self.lib = c.CDLL("libcmap.so.4")
        self.handle = c.c_uint64()
        self.events: list[str] = []
        self._callback = NOTIFY(self._notified)
        self.report(f"initialize map {number}", self.lib.cmap_initialize_map(c.byref(self.handle), number))

    def report(self, what: str, code: int, more: object = "") -> None:
        print(f"{what}: {code} {more}".rstrip(), flush=True)

    def set(self, key: bytes, kind: int, data: bytes, length: int | None = None) -> int:
        size = len(data) if length is None else length
        return int(self.lib.cmap_set(self.handle, key, data, c.c_size_t(size), kind))

    def set_shown(self, key: bytes, kind: int, data: bytes) -> None:
        self.report(f"set {shown(key)} type {kind} {shown(data)}", self.set(key, kind, data))

    def get(self, key: bytes, room: int | None) -> None:
        """`room`: bytes of the buffer; None: no buffer."""
        size = c.c_size_t(room or 0)
        kind = c.c_int()
        buffer = None if room is None else c.create_string_buffer(b"\xee" * max(room, 1), max(room, 1))
        code = self.lib.cmap_get(self.handle, key, buffer, c.byref(size), c.byref(kind))
        more = f"type {kind.value} len {size.value}" if code == OK else ""
        if code == OK and buffer is not None and len(buffer.raw) < 100:
            more += f" {shown(buffer.raw[: size.value])}"
        self.report(f"get {shown(key)} room {room}", code, more)

    def delete(self, key: bytes) -> None:
        self.report(f"delete {shown(key)}", self.lib.cmap_delete(self.handle, key))

    def adjust(self, key: bytes, step: int) -> None:
        call = self.lib.cmap_inc if step > 0 else self.lib.cmap_dec
        self.report(f"adjust {shown(key)} {step}", call(self.handle, key))

    def iterate(self, prefix: bytes | None, act: Callable[[int], None] | None = None) -> None:
        iterator = c.c_uint64()
        code = self.lib.cmap_iter_init(self.handle, prefix, c.byref(iterator))
        self.report(f"iterate {shown(prefix)}", code)
        if code != OK:
            return
        for number in range(10000):
            name = c.create_string_buffer(256)
            size, kind = c.c_size_t(), c.c_int()
            code = self.lib.cmap_iter_next(self.handle, iterator, name, c.byref(size), c.byref(kind))
            if code != OK:
                break
            if prefix is not None and prefix.startswith((b"probe", b"stats")):
                self.report("  next", code, f"{shown(name.value)} type {kind.value} len {size.value}")
            if act is not None:
                act(number)
        self.report("  end", code)
        self.report("  again", self.lib.cmap_iter_next(self.handle, iterator, name, c.byref(size), c.byref(kind)))
        self.report("  finalize", self.lib.cmap_iter_finalize(self.handle, iterator))
        self.report("  finalize twice", self.lib.cmap_iter_finalize(self.handle, iterator))

    def track(self, key: bytes | None, kinds: int) -> c.c_uint64:
        tracker = c.c_uint64()
        arguments = (self.handle, key, c.c_int32(kinds), self._callback, None, c.byref(tracker))
        self.report(f"track {shown(key)} {kinds}", self.lib.cmap_track_add(*arguments))
        return tracker

    def untrack(self, tracker: c.c_uint64) -> None:
        self.report("untrack", self.lib.cmap_track_delete(self.handle, tracker))

    def dispatch(self) -> None:
        """Print the events that have come; sorted by nothing but their coming."""
        # Events of earlier calls are on their way before a later one is answered.
        self.lib.cmap_get(self.handle, b"probe.none", None, c.byref(c.c_size_t()), c.byref(c.c_int()))
        fd = c.c_int()
        self.lib.cmap_fd_get(self.handle, c.byref(fd))
        while select.select([fd.value], [], [], EVENT_S)[0]:
            if self.lib.cmap_dispatch(self.handle, 4) != OK:
                break
        for event in self.events:
            print(f"  event {event}", flush=True)
        self.events.clear()

    def _notified(
        self, handle: int, track: int, event: int, key: bytes, new: Value, old: Value, data: int | None
    ) -> None:
        sides = [f"type {side.type} len {side.len} {shown(content(side))}" for side in (new, old)]
        self.events.append(f"{event} {key.decode()} new {sides[0]} old {sides[1]}")


def content(value: Value) -> bytes:
    return c.string_at(value.data, value.len) if value.data and value.len else b""


def shown(data: bytes | None) -> str:
    if data is None:
        return "-"
    return repr(data)[1:] if len(data) < 60 else f"{len(data)} bytes"


NAMES = (b"ab", b"abc", b"a b", b"a\xc3\xa4c", b"x" * 255, b"x" * 254, b"x" * 256, b"", b"probe/a:b-c_d.E9", b"probe,a")
READ_ONLY = (
    b"internal_configuration.x totem.version totem.transport totem.cluster_name totem.nodeid totem.key totem.netmtu"
    b" totem.interface.0.mcastport totem.link_mode nodelist.node.0.nodeid nodelist.local_node_pos nodelist.x system.x"
    b" quorum.provider quorum.wait_for_all quorum.last_man_standing_window quorum.auto_tie_breaker_node"
    b" quorum.expected_votes_tracking quorum.allow_downscale config.reload_in_progress"
    b" config.totemconfig_reload_in_progress config.reload_status runtime.config.totem.token runtime.services.cmap.x"
    b" runtime.totem.x runtime.members.7.x runtime.x uidgid.config.uid.7 uidgid.uid.7 resources.x logging.x nozzle.x"
).split()
LIVE = (b"quorum.provider", b"totem.interface.0.mcastport")
"""Keys that are writable and in use: this program leaves them alone."""


def values(probe: Probe) -> None:
    for name in NAMES:
        probe.set_shown(name, 2, b"\1")
        probe.get(name, 1)
        probe.get(name, None)
        probe.adjust(name, 1)
        probe.delete(name)
    for kind in range(-1, 15):
        for size in (0, 1, 2, 4, 8, 9):
            probe.set_shown(b"probe.value", kind, b"A" * size)
    for text in (b"", b"\0", b"a", b"a\0", b"a\0\0", b"a\0b", b"abc\0", b"\0a", "ä".encode()):
        probe.set_shown(b"probe.text", STRING, text)
        probe.get(b"probe.text", 40)
    for size in (16382, 16383, 16384, 16385, 20000):
        for kind in (STRING, BINARY):
            probe.set_shown(b"probe.large", kind, b"y" * size)
            probe.get(b"probe.large", None)
    probe.set_shown(b"probe.large", BINARY, b"z" * 16384)
    for room in (None, 1, 16383, 16384, 16385, 100000):
        probe.get(b"probe.large", room)
    probe.set_shown(b"probe.sized", STRING, b"hello")
    for room in (None, 1, 5, 6, 7, 50):
        probe.get(b"probe.sized", room)
    for key in READ_ONLY:
        if key in LIVE:
            continue
        probe.set_shown(key, 2, b"\1")
        probe.set_shown(key, 2, b"\1\1")
        probe.adjust(key, 1)
        if key not in (b"config.reload_status",):
            probe.delete(key)
    for word, kind in TYPES.items():
        number = b"probe.number." + word.encode()
        probe.set_shown(number, kind, b"\xff" * (1, 1, 2, 2, 4, 4, 8, 8, 4, 8)[kind - 1])
        for step in (1, -1, -1):
            probe.adjust(number, step)
            probe.get(number, 8)
    for key in (b"probe.sized", b"probe.none", b"probe.large"):
        probe.adjust(key, 1)


def iterations(probe: Probe) -> None:
    for number in (1, 10, 2, 20, 3):
        probe.set(b"probe.node.%d" % number, 6, b"\1\0\0\0")
    probe.iterate(b"probe.node.")
    probe.iterate(b"probe.node")
    probe.iterate(b"probe.none")
    probe.iterate(b"probe.a b")
    probe.iterate(b"x" * 255)
    probe.iterate(b"x" * 256)
    probe.iterate(b"probe.node.1")
    probe.report(
        "next of none", probe.lib.cmap_iter_next(probe.handle, c.c_uint64(99), c.create_string_buffer(256), 0, 0)
    )

    def change(step: int) -> None:
        if step == 0:
            probe.delete(b"probe.node.2")
            probe.set_shown(b"probe.node.25", 2, b"\1")
            probe.set_shown(b"probe.node.0", 2, b"\1")

    probe.iterate(b"probe.node.", change)


def trackers(probe: Probe) -> None:
    for kinds in (0, 1, 2, 4, 8, 7, 15, 16, 32, 31, -1):
        tracker = probe.track(b"probe.tracked", kinds)
        probe.untrack(tracker)
        probe.untrack(tracker)
    for key in (None, b"", b"ab", b"a b", b"x" * 255, b"x" * 256):
        for kinds in (7, 15):
            probe.untrack(probe.track(key, kinds))
    one = probe.track(b"probe.t", 7)
    under = probe.track(b"probe.t", 15)
    two = probe.track(b"probe.t", 7)

    def everything() -> None:
        for kind, data in ((2, b"\1"), (2, b"\1"), (2, b"\2"), (6, b"\2\0\0\0"), (STRING, b"new"), (BINARY, b"\0\1")):
            probe.set_shown(b"probe.t", kind, data)
            probe.dispatch()
        probe.set_shown(b"probe.t", 1, b"\1")
        probe.adjust(b"probe.t", 5)
        probe.dispatch()
        probe.set_shown(b"probe.t.deeper", 1, b"\1")
        probe.dispatch()
        probe.delete(b"probe.t.deeper")
        probe.delete(b"probe.t")
        probe.delete(b"probe.t")
        probe.dispatch()

    everything()
    for tracker in (one, under, two):
        probe.untrack(tracker)
    everything()
    for kinds in (1, 2, 4):
        tracker = probe.track(b"probe.t", kinds)
        everything()
        probe.untrack(tracker)
    for every in (None, b""):
        for kinds in (7, 15):
            whole = probe.track(every, kinds)
            probe.set_shown(b"probe.whole", 2, b"\7")
            probe.dispatch()
            probe.delete(b"probe.whole")
            probe.dispatch()
            probe.untrack(whole)


def statistics(probe: Probe) -> None:
    for key in (b"stats.srp.mcast_tx", b"stats.pg.msg_reserved", b"stats.none", b"ab", b"foo.bar", b"totem.version"):
        probe.get(key, None)
        probe.delete(key)
        probe.adjust(key, 1)
        probe.set_shown(key, 2, b"\1")
    for word in (b"knet", b"ipc", b"totem", b"schedmiss", b"all", b"totemx", b"", b"x"):
        probe.set_shown(b"stats.clear." + word, 2, b"\1")
        probe.set_shown(b"stats.clear." + word, 99, b"\1")
        probe.get(b"stats.clear." + word, None)
        probe.delete(b"stats.clear." + word)
    for tracked in (None, b"stats.", b"stats.ipcs.", b"stats.srp.mcast_tx", b"stats.none", b"totem.", b"ab"):
        for kinds in (0, 1, 2, 4, 5, 7, 8, 9, 10, 12, 13, 15, 16):
            probe.untrack(probe.track(tracked, kinds))
    for prefix in (None, b"stats.pg.", b"stats.srp.", b"stats.ipcs.global", b"stats.none", b"totem."):
        probe.iterate(prefix)


def main() -> None:
    for number in (-1, 2):
        Probe(number)
    probe = Probe()
    values(probe)
    iterations(probe)
    trackers(probe)
    probe.report("finalize", probe.lib.cmap_finalize(probe.handle))
    probe = Probe(1)
    statistics(probe)
    probe.report("finalize", probe.lib.cmap_finalize(probe.handle))


main()
