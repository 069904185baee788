"""A program that uses libcpg.so.4 and libquorum.so.5 in the ways that their users do, and prints what comes of it.

    cpg_probe.py SCENARIO     one of the functions of SCENARIOS
    cpg_probe.py exchange N   one of N members on N nodes
    cpg_probe.py member NAME  joins the group, says "joined", and leaves when its input ends

One line for each call and event, the same on every run: process ids are shown as "me" and "other". Two daemons that
behave alike give the same lines. It loads the libraries itself, so it runs in the daemon's namespaces.
"""

import ctypes as c
import hashlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

OK, TRY_AGAIN = 1, 6
ONE, ALL, ONE_NONBLOCKING = 1, 2, 4
PATIENCE_S = 20.0
REASONS = ("undefined", "join", "leave", "nodedown", "nodeup", "procdown")


class Name(c.Structure):
    _fields_ = (("length", c.c_uint32), ("value", c.c_char * 128))


class Address(c.Structure):
    _fields_ = (("nodeid", c.c_uint32), ("pid", c.c_uint32), ("reason", c.c_uint32))


class RingId(c.Structure):
    _fields_ = (("nodeid", c.c_uint32), ("seq", c.c_uint64))


class IoVector(c.Structure):
    kept: Any
    _fields_ = (("base", c.c_void_p), ("length", c.c_size_t))


class Description(c.Structure):
    _fields_ = (("group", Name), ("nodeid", c.c_uint32), ("pid", c.c_uint32))


DELIVER = c.CFUNCTYPE(None, c.c_uint64, c.POINTER(Name), c.c_uint32, c.c_uint32, c.c_void_p, c.c_size_t)
CONFCHG = c.CFUNCTYPE(
    None,
    c.c_uint64,
    c.POINTER(Name),
    *(kind for _ in range(3) for kind in (c.POINTER(Address), c.c_size_t)),
)
TOTEM = c.CFUNCTYPE(None, c.c_uint64, RingId, c.c_uint32, c.POINTER(c.c_uint32))


class Model(c.Structure):
    _fields_ = (
        ("model", c.c_int),
        ("deliver", DELIVER),
        ("confchg", CONFCHG),
        ("totem", TOTEM),
        ("flags", c.c_uint),
    )


def say(*words: object) -> None:
    print(*words, flush=True)


def name(group: bytes) -> Name:
    given = Name(length=len(group))
    c.memmove(c.addressof(given) + Name.value.offset, group, min(len(group), 128))
    return given


def text(group: Name) -> bytes:
    return c.string_at(c.addressof(group) + Name.value.offset, group.length)


def shown(data: bytes) -> str:
    """Short data as it is, long data by its length and sum."""
    return repr(data) if len(data) <= 40 else f"{len(data)} bytes {hashlib.sha256(data).hexdigest()[:12]}"


def who(pid: int) -> str:
    return "me" if pid == os.getpid() else "none" if pid == 0 else "other"


class Cpg:
    """One connection."""

    lib = c.CDLL("libcpg.so.4")

    def __init__(self, label: str, *, flags: int = 0, totem: bool = False, quiet: bool = False) -> None:
        self.label = label
        self.quiet = quiet
        self.handle = c.c_uint64()
        self.members: list[tuple[int, int]] = []
        self.delivered = 0
        self.heard: Callable[[int, bytes], None] | None = None
        self._callbacks = (DELIVER(self._deliver), CONFCHG(self._confchg), TOTEM(self._totem) if totem else TOTEM())
        self._model = Model(1, *self._callbacks, flags)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            code = self.lib.cpg_model_initialize(c.byref(self.handle), 1, c.byref(self._model), None)
            if code != TRY_AGAIN or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        self.say("initialize", code)

    def say(self, *words: object) -> None:
        say(f"{self.label}:", *words)

    def call(self, function: str, *given: Any) -> int:
        """Retries what is to be tried again."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            code: int = self.lib[f"cpg_{function}"](self.handle, *given)
            if code != TRY_AGAIN or time.monotonic() > deadline:
                return code
            time.sleep(0.002)

    def join(self, group: bytes) -> int:
        code = self.call("join", c.byref(name(group)))
        self.say("join", group, code)
        return code

    def leave(self, group: bytes) -> int:
        code = self.call("leave", c.byref(name(group)))
        self.say("leave", group, code)
        return code

    def mcast(self, data: bytes, guarantee: int = 2) -> int:
        return self.call("mcast_joined", c.c_int(guarantee), c.byref(_vector(data)), 1)

    def membership(self, group: bytes) -> None:
        members, count = (Address * 128)(), c.c_int(128)
        code = self.call("membership_get", c.byref(name(group)), c.byref(members), c.byref(count))
        found = [(m.nodeid, who(m.pid)) for m in members[: count.value]] if code == OK else []
        self.say("membership", group, code, sorted(found))

    def wait_gone(self, group: bytes) -> None:
        """Wait until nobody is in the group."""
        members, count = (Address * 128)(), c.c_int(128)
        deadline = time.monotonic() + PATIENCE_S
        while count.value and time.monotonic() < deadline:
            self.call("membership_get", c.byref(name(group)), c.byref(members), c.byref(count))

    def nodeid(self) -> int:
        nodeid = c.c_uint32()
        assert self.call("local_get", c.byref(nodeid)) == OK
        return nodeid.value

    def fileno(self) -> int:
        descriptor = c.c_int()
        self.lib.cpg_fd_get(self.handle, c.byref(descriptor))
        return descriptor.value

    def dispatch(self, mode: int = ONE) -> int:
        code: int = self.lib.cpg_dispatch(self.handle, mode)
        return code

    def wait(self, condition: Callable[[], bool]) -> None:
        """Dispatch until it holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                self.say("nothing came")
                sys.exit(1)
            if select.select([self.fileno()], [], [], 0.2)[0]:
                code = self.dispatch(ONE)
                if code != OK:
                    self.say("dispatch", code)
                    sys.exit(1)

    def quiet_now(self, pause_s: float = 0.3) -> None:
        """Dispatch all that comes without being waited for."""
        while select.select([self.fileno()], [], [], pause_s)[0]:
            self.dispatch(ONE)

    def expect_members(self, count: int) -> None:
        self.wait(lambda: len(self.members) == count)

    def expect_delivered(self, count: int) -> None:
        goal = self.delivered + count
        self.wait(lambda: self.delivered >= goal)

    def iterate(self, kind: int, group: bytes = b"") -> None:
        iteration = c.c_uint64()
        given = c.byref(name(group)) if group else None
        code = self.lib.cpg_iteration_initialize(self.handle, kind, given, c.byref(iteration))
        self.say("iterate", kind, code)
        entries: list[tuple[bytes, int, int]] = []
        while code == OK:
            found = Description()
            code = self.lib.cpg_iteration_next(iteration, c.byref(found))
            if code == OK:
                entries.append((text(found.group), found.nodeid, found.pid))
        pids = sorted({pid for _, _, pid in entries})
        for group, nodeid, pid in entries:
            self.say("entry", group, nodeid, who(pid), "process", pids.index(pid))
        self.say("end", code)
        self.say("iteration finalize", self.lib.cpg_iteration_finalize(iteration))

    def finalize(self) -> None:
        self.say("finalize", self.lib.cpg_finalize(self.handle))

    def _deliver(self, handle: int, group: Any, nodeid: int, pid: int, data: int, size: int) -> None:
        self.delivered += 1
        message = c.string_at(data, size) if size else b""
        if self.heard is not None:
            self.heard(nodeid, message)
        elif not self.quiet:
            self.say("delivered", text(group[0]), nodeid, who(pid), shown(message))

    def _confchg(
        self, handle: int, group: Any, members: Any, m: int, left: Any, n_left: int, joined: Any, n_joined: int
    ) -> None:
        self.members = [(members[i].nodeid, members[i].pid) for i in range(m)]
        changes = [
            f"{word} {address.nodeid} {who(address.pid)} {REASONS[address.reason]}"
            for word, addresses, count in (("left", left, n_left), ("joined", joined, n_joined))
            for address in addresses[:count]
        ]
        shown_members = sorted((nodeid, who(pid)) for nodeid, pid in self.members)
        self.say("members", text(group[0]), shown_members, *changes)

    def _totem(self, handle: int, ring: RingId, count: int, members: Any) -> None:
        self.say("configuration", ring.nodeid, [members[i] for i in range(count)])


_ARGUMENTS: dict[str, list[Any]] = {
    "cpg_join": [c.c_uint64, c.c_void_p],
    "cpg_leave": [c.c_uint64, c.c_void_p],
    "cpg_dispatch": [c.c_uint64, c.c_int],
    "cpg_finalize": [c.c_uint64],
    "cpg_fd_get": [c.c_uint64, c.c_void_p],
    "cpg_iteration_initialize": [c.c_uint64, c.c_int, c.c_void_p, c.c_void_p],
    "cpg_iteration_next": [c.c_uint64, c.c_void_p],
    "cpg_iteration_finalize": [c.c_uint64],
    "cpg_mcast_joined": [c.c_uint64, c.c_int, c.c_void_p, c.c_uint],
    "cpg_zcb_alloc": [c.c_uint64, c.c_size_t, c.c_void_p],
    "cpg_zcb_free": [c.c_uint64, c.c_void_p],
    "cpg_zcb_mcast_joined": [c.c_uint64, c.c_int, c.c_void_p, c.c_size_t],
}
for _function, _arguments in _ARGUMENTS.items():
    Cpg.lib[_function].argtypes = _arguments


class Other:
    """Another process, a member of a group."""

    def __init__(self, group: bytes) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "member", group.decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def leave(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE_S)


def member(group: bytes) -> None:
    """A process that is in a group until its input ends."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for good
    connection = Cpg("member", quiet=True)
    connection.join(group)
    connection.wait(lambda: any(pid == os.getpid() for _, pid in connection.members))
    os.write(1, b"joined\n")
    while True:
        ready, _, _ = select.select([0, connection.fileno()], [], [])
        if 0 in ready:
            break
        connection.dispatch(ONE)
    connection.leave(group)
    connection.wait(lambda: all(pid != os.getpid() for _, pid in connection.members))


def groups() -> None:
    """Membership, messages, wrong calls, iteration."""
    one = Cpg("one", flags=1, totem=True)
    two = Cpg("two", totem=True)
    one.say("local", one.nodeid())
    one.say("mcast unjoined", one.mcast(b"x"))
    one.say("leave unjoined", one.leave(b"crmd\0"))
    one.join(b"crmd\0")
    one.expect_members(1)
    one.quiet_now()
    one.join(b"crmd\0")
    two.join(b"crmd\0")
    two.join(b"crmd")
    two.expect_members(1)
    for guarantee in range(4):
        one.say("mcast", one.mcast(b"guarantee %d" % guarantee, guarantee))
    one.expect_delivered(4)
    one.say("mcast nothing", one.mcast(b""))
    one.expect_delivered(1)
    third = Other(b"crmd")
    two.expect_members(2)
    older, newer = Other(b"crmd"), Other(b"crmd")
    two.expect_members(4)
    one.iterate(3)
    older.leave()
    newer.leave()
    two.expect_members(2)
    two.membership(b"crmd")
    one.membership(b"crmd\0")
    one.membership(b"nobody")
    for kind, group in ((1, b""), (2, b"crmd\0"), (2, b"nobody"), (3, b"")):
        one.iterate(kind, group)
    third.leave()
    two.expect_members(1)
    fourth = Other(b"crmd")
    two.expect_members(2)
    fourth.kill()
    two.expect_members(1)
    one.leave(b"crmd\0")
    one.wait(lambda: not one.members)
    one.leave(b"crmd\0")
    one.finalize()
    two.quiet_now()
    two.finalize()
    again = Cpg("again")
    again.wait_gone(b"crmd")
    again.iterate(3)
    again.join(b"g" * 128)
    again.expect_members(1)
    again.finalize()
    say("finalized twice", Cpg.lib.cpg_finalize(again.handle))


def names() -> None:
    """Members with names as resource managers have them, and what corosync-cpgtool says of them."""
    connections = []
    for number, group in enumerate((b"crmd\0", b"stonith-ng\0", b"back\\slash", b"\xff\x01\n")):
        connection = Cpg(f"c{number}", quiet=True)
        connection.join(group)
        connection.expect_members(1)
        connections.append(connection)
    for options in ("", "-n", "-d:", "-e", "-n -d:", "-h"):
        result = subprocess.run(["corosync-cpgtool", *options.split()], capture_output=True, check=False)
        say("cpgtool", options, result.returncode)
        say((result.stdout + result.stderr).replace(b"%10d" % os.getpid(), b" me").replace(b"%d" % os.getpid(), b"me"))
    for connection in connections:
        connection.finalize()


def rejoin() -> None:
    """A connection that leaves its group and joins again."""
    one = Cpg("one")
    for group in (b"a", b"a", b"b"):
        one.join(group)
        one.expect_members(1)
        one.mcast(b"in " + group)
        one.expect_delivered(1)
        one.leave(group)
        one.wait(lambda: not one.members)
    one.finalize()


def large() -> None:
    """Messages of all sizes up to 3 MB, alone and between small ones."""
    one, two = Cpg("one"), Cpg("two", quiet=True)
    one.join(b"large")
    one.expect_members(1)
    two.join(b"other")
    for size in (1, 1000, 65535, 65536, 1000000, 1047552, 1047553, 2000000, 3145728):
        data = bytes((i * 7 + size) & 0xFF for i in range(256)) * (size // 256 + 1)
        one.say("mcast", size, one.mcast(data[:size]))
        one.say("mcast small", one.mcast(b"small"))
        one.expect_delivered(2)
    one.finalize()
    two.finalize()


def zero_copy() -> None:
    """Multicasts out of a shared buffer."""
    one = Cpg("one")
    buffer = c.c_void_p()
    one.say("allocate", one.lib.cpg_zcb_alloc(one.handle, 100000, c.byref(buffer)))
    assert buffer.value is not None
    one.say("mcast unjoined", one.lib.cpg_zcb_mcast_joined(one.handle, 2, buffer, 10))
    one.join(b"zero")
    one.expect_members(1)
    for size in (10, 100000, 0):
        data = bytes(i & 0xFF for i in range(size))
        c.memmove(buffer.value, data, size)
        one.say("mcast", size, one.lib.cpg_zcb_mcast_joined(one.handle, 2, buffer, size))
        one.expect_delivered(1)
    left = [entry for entry in os.listdir("/dev/shm") if entry.startswith("corosync_zerocopy")]
    one.say("files left", left)
    one.say("free", one.lib.cpg_zcb_free(one.handle, buffer))
    big = c.c_void_p()
    one.say("allocate", one.lib.cpg_zcb_alloc(one.handle, 1000000, c.byref(big)))
    assert big.value is not None
    c.memset(big.value, 0x5A, 1000000)
    one.say("mcast", one.lib.cpg_zcb_mcast_joined(one.handle, 2, big, 1000000))
    one.expect_delivered(1)
    one.say("free", one.lib.cpg_zcb_free(one.handle, big))
    one.finalize()


def zero_copy_many() -> None:
    """More buffers than a connection may have: those that it may not have say so when they are used."""
    one = Cpg("one")
    one.join(b"zero")
    one.expect_members(1)
    buffers = []
    for _ in range(40):
        buffer = c.c_void_p()
        one.lib.cpg_zcb_alloc(one.handle, 1000, c.byref(buffer))
        buffers.append(buffer)
    codes = []
    for buffer in buffers:
        assert buffer.value is not None
        c.memmove(buffer.value, b"data", 4)
        codes.append(one.call("zcb_mcast_joined", c.c_int(2), buffer, 4))
    one.say("multicasts", codes)
    one.say("free", [one.lib.cpg_zcb_free(one.handle, buffer) for buffer in buffers])
    one.mcast(b"end")
    one.expect_delivered(1 + codes.count(OK))
    one.finalize()


def flood() -> None:
    """A sender that never waits: every message that was accepted comes back, in order."""
    one = Cpg("one", quiet=True)
    one.join(b"flood")
    one.expect_members(1)
    vector_data = c.create_string_buffer(bytes(60000), 60000)
    vector = IoVector(c.cast(vector_data, c.c_void_p), 60000)
    accepted = refused = 0
    deadline = time.monotonic() + PATIENCE_S
    # Without a look at what comes back, until the daemon has said no often enough.
    while accepted < 400 and time.monotonic() < deadline:
        code = one.lib.cpg_mcast_joined(one.handle, 2, c.byref(vector), 1)
        if code == OK:
            accepted += 1
        elif code == TRY_AGAIN:
            refused += 1
            time.sleep(0.001)
        else:
            one.say("mcast", code)
            break
    one.say("accepted", accepted)
    one.wait(lambda: one.delivered >= accepted)
    one.quiet_now()
    one.say("delivered", one.delivered)
    one.finalize()


def exchange(count: int) -> None:
    """One of `count` members on as many nodes, who all send; the history must be the same everywhere."""
    one = Cpg("one", quiet=True)
    history: list[tuple[int, int, str]] = []
    one.heard = lambda nodeid, data: history.append((nodeid, len(data), hashlib.sha256(data).hexdigest()[:12]))
    one.join(b"exchange")
    one.expect_members(count)
    sizes = (10, 2_000_000, 0, 1000, 1_047_552, 70_000, 1_500_000, 64)
    goal = count * len(sizes)
    sent: list[tuple[int, str]] = []
    for size in sizes:
        data = os.urandom(size)
        sent.append((size, hashlib.sha256(data).hexdigest()[:12]))
        deadline = time.monotonic() + PATIENCE_S
        # A membership that changes meanwhile would interrupt a large message.
        while one.lib.cpg_mcast_joined(one.handle, 2, c.byref(_vector(data)), 1) == TRY_AGAIN:
            one.quiet_now(0.001)
            if time.monotonic() > deadline:
                sys.exit(1)
    one.wait(lambda: len(history) >= goal)
    for entry in history:
        say("history", *entry)
    own = sorted(entry[1:] for entry in history if entry[0] == one.nodeid())
    say("as sent" if own == sorted(sent) else f"not as sent: {sent}")
    # Nobody goes before all have everything.
    one.mcast(b"end")
    one.wait(lambda: len(history) >= goal + count)
    one.finalize()


def _vector(data: bytes) -> IoVector:
    """The data lives as long as the vector."""
    vector = IoVector(length=len(data))
    vector.kept = c.create_string_buffer(data, len(data))
    vector.base = c.addressof(vector.kept)
    return vector


QUORUM = c.CDLL("libquorum.so.5")
V0_NOTIFY = c.CFUNCTYPE(None, c.c_uint64, c.c_uint32, c.c_uint64, c.c_uint32, c.POINTER(c.c_uint32))
V1_QUORUM = c.CFUNCTYPE(None, c.c_uint64, c.c_uint32, RingId, c.c_uint32, c.POINTER(c.c_uint32))
V1_NODELIST = c.CFUNCTYPE(
    None, c.c_uint64, RingId, *(kind for _ in range(3) for kind in (c.c_uint32, c.POINTER(c.c_uint32)))
)


class V0(c.Structure):
    _fields_ = (("model", c.c_int), ("notify", V0_NOTIFY))


class V1(c.Structure):
    _fields_ = (("model", c.c_int), ("quorum", V1_QUORUM), ("nodelist", V1_NODELIST))


def quorum() -> None:
    """Both models of libquorum."""

    def v0(handle: int, quorate: int, seq: int, count: int, view: Any) -> None:
        say("v0 notify", quorate, seq > 0, [view[i] for i in range(count)])

    def v1_quorum(handle: int, quorate: int, ring: RingId, count: int, view: Any) -> None:
        say("v1 quorum", quorate, ring.nodeid, ring.seq > 0, [view[i] for i in range(count)])

    def v1_nodelist(handle: int, ring: RingId, *lists: Any) -> None:
        shown_lists = [[lists[i + 1][k] for k in range(lists[i])] for i in (0, 2, 4)]
        say("v1 nodelist", ring.nodeid, ring.seq > 0, *shown_lists)

    models = (
        (0, V0(0, V0_NOTIFY(v0))),
        (1, V1(1, V1_QUORUM(v1_quorum), V1_NODELIST(v1_nodelist))),
    )
    for number, model in models:
        handle, kind, value = c.c_uint64(), c.c_uint32(), c.c_int()
        code = QUORUM.quorum_model_initialize(c.byref(handle), number, c.byref(model), c.byref(kind), None)
        say("model", number, code, kind.value)
        say("getquorate", QUORUM.quorum_getquorate(handle, c.byref(value)), value.value)
        for flags in (1, 2, 3, 4):
            say("trackstart", flags, QUORUM.quorum_trackstart(handle, flags))
            say("dispatch", QUORUM.quorum_dispatch(handle, ALL))
            say("trackstop", QUORUM.quorum_trackstop(handle))
        say("trackstart", QUORUM.quorum_trackstart(handle, 2), QUORUM.quorum_trackstart(handle, 2))
        say("dispatch", QUORUM.quorum_dispatch(handle, ALL))
        say("trackstop", QUORUM.quorum_trackstop(handle), QUORUM.quorum_trackstop(handle))
        say("finalize", QUORUM.quorum_finalize(handle))
    handle, kind = c.c_uint64(), c.c_uint32()
    say("model 2", QUORUM.quorum_model_initialize(c.byref(handle), 2, c.byref(models[0][1]), c.byref(kind), None))


SCENARIOS = {
    function.__name__: function for function in (groups, names, rejoin, large, zero_copy, zero_copy_many, flood, quorum)
}

if __name__ == "__main__":
    if sys.argv[1] == "member":
        member(sys.argv[2].encode())
    elif sys.argv[1] == "exchange":
        exchange(int(sys.argv[2]))
    else:
        SCENARIOS[sys.argv[1]]()
