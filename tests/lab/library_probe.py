"""Calls corosync's own libcfg and libvotequorum, unmodified, and prints what they return and call back.

A program of its own: it runs beside a node, in that node's namespaces, and plays the script that it reads from its
standard input, Python that finds `Cfg`, `Votequorum` and `say` there. What it prints can be compared between daemons.
"""

import ctypes
import select
import socket
import sys
import time
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char, c_char_p, c_int, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any

DISPATCH_ALL = 2
EVENT_PATIENCE_S = 15.0
OK = 1


def say(*words: object) -> None:
    """Print at once."""
    print(*words, flush=True)


class _Info(Structure):
    _fields_ = [
        (name, c_uint32)
        for name in (
            "node_id",
            "node_state",
            "node_votes",
            "node_expected_votes",
            "highest_expected",
            "total_votes",
            "quorum",
            "flags",
            "qdevice_votes",
        )
    ] + [("qdevice_name", c_char * 255)]


class _RingId(Structure):
    _fields_ = [("nodeid", c_uint32), ("seq", c_uint64)]


class _Standing(Structure):
    _fields_ = [("nodeid", c_uint32), ("state", c_uint32)]


class _Link(Structure):
    _fields_ = [
        ("enabled", c_uint8),
        ("connected", c_uint8),
        ("dynconnected", c_uint8),
        ("mtu", c_uint32),
        ("src", c_char * 256),
        ("dst", c_char * 256),
    ]


class _NodeStatus(Structure):
    _fields_ = [
        ("version", c_uint32),
        ("nodeid", c_uint32),
        *((name, c_uint8) for name in ("reachable", "remote", "external", "onwire_min", "onwire_max", "onwire_ver")),
        ("links", _Link * 8),
    ]


class _Address(Structure):
    _fields_ = [("length", c_int), ("sockaddr", c_char * 28)]


_QUORUM_CALLBACK = CFUNCTYPE(None, c_uint64, c_uint64, c_uint32, c_uint32, POINTER(_Standing))
_EXPECTED_CALLBACK = CFUNCTYPE(None, c_uint64, c_uint64, c_uint32)
_NODELIST_CALLBACK = CFUNCTYPE(None, c_uint64, c_uint64, _RingId, c_uint32, POINTER(c_uint32))
_SHUTDOWN_CALLBACK = CFUNCTYPE(None, c_uint64, c_uint32)


class _VotequorumCallbacks(Structure):
    _fields_ = [("quorum", _QUORUM_CALLBACK), ("expected", _EXPECTED_CALLBACK), ("nodelist", _NODELIST_CALLBACK)]


class _CfgCallbacks(Structure):
    _fields_ = [("shutdown", _SHUTDOWN_CALLBACK)]


class _Connection:
    """A handle of one of the libraries. Events are kept as tuples until they are taken."""

    library: ctypes.CDLL
    prefix: str

    def __init__(self, callbacks: Structure) -> None:
        self.events: list[tuple[Any, ...]] = []
        self._callbacks = callbacks
        self.handle = c_uint64()
        self.code = self.library[f"{self.prefix}_initialize"](byref(self.handle), byref(callbacks))

    def call(self, name: str, *arguments: Any) -> int:
        """Call a function of the library with the handle in front. Returns its code."""
        code: int = self.library[f"{self.prefix}_{name}"](self.handle, *arguments)
        return code

    def fileno(self) -> int:
        descriptor = c_int()
        assert self.call("fd_get", byref(descriptor)) == OK
        return descriptor.value

    def take(self) -> list[tuple[Any, ...]]:
        """The events that have come."""
        self.call("dispatch", DISPATCH_ALL)
        events, self.events = self.events, []
        return events

    def wait(self, condition: Callable[[tuple[Any, ...]], bool]) -> list[tuple[Any, ...]]:
        """Events up to the first that satisfies the condition, or all that come while one waits for it."""
        deadline = time.monotonic() + EVENT_PATIENCE_S
        taken: list[tuple[Any, ...]] = []
        while time.monotonic() < deadline:
            if select.select([self.fileno()], [], [], 0.2)[0] and self.call("dispatch", 4) not in (OK, 6):
                break
            while self.events:
                taken.append(self.events.pop(0))
                if condition(taken[-1]):
                    return taken
        return [*taken, ("nothing more",)]

    def finalize(self) -> int:
        return self.call("finalize")


class Votequorum(_Connection):
    """libvotequorum."""

    library = ctypes.CDLL("libvotequorum.so.8")
    prefix = "votequorum"

    def __init__(self) -> None:
        def quorum(handle: int, context: int, quorate: int, count: int, nodes: Any) -> None:
            standings = sorted((nodes[i].nodeid, nodes[i].state) for i in range(count))
            self.events.append(("quorum", context, quorate, standings))

        def expected(handle: int, context: int, votes: int) -> None:
            self.events.append(("expected", context, votes))

        def nodelist(handle: int, context: int, ring: _RingId, count: int, nodes: Any) -> None:
            self.ring = (ring.nodeid, ring.seq)
            self.events.append(("nodelist", context, [nodes[i] for i in range(count)]))

        self.ring = (0, 0)
        functions = _QUORUM_CALLBACK(quorum), _EXPECTED_CALLBACK(expected), _NODELIST_CALLBACK(nodelist)
        super().__init__(_VotequorumCallbacks(*functions))

    def info(self, nodeid: int = 0) -> tuple[int, dict[str, Any]]:
        info = _Info()
        code = self.call("getinfo", c_uint32(nodeid), byref(info))
        return code, {field[0]: getattr(info, field[0]) for field in _Info._fields_} if code == OK else {}

    def track(self, context: int, flags: int) -> int:
        return self.call("trackstart", c_uint64(context), c_uint32(flags))

    def poll(self, name: bytes, cast_vote: int, ring: tuple[int, int]) -> int:
        return self.call("qdevice_poll", c_char_p(name), c_uint32(cast_vote), _RingId(*ring))


class Cfg(_Connection):
    """libcfg."""

    library = ctypes.CDLL("libcfg.so.7")
    prefix = "corosync_cfg"

    def __init__(self) -> None:
        def shutdown(handle: int, flags: int) -> None:
            self.events.append(("shutdown", flags))

        super().__init__(_CfgCallbacks(_SHUTDOWN_CALLBACK(shutdown)))

    def ring_status(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        names, states = POINTER(c_char_p)(), POINTER(c_char_p)()
        count = c_uint32()
        code = self.call("ring_status_get", byref(names), byref(states), byref(count))
        return code, [(names[i] or b"", states[i] or b"") for i in range(count.value)] if code == OK else []

    def addresses(self, nodeid: int) -> tuple[int, list[tuple[int, str]]]:
        addresses = (_Address * 8)()
        count = c_int()
        code = self.call("get_node_addrs", c_uint32(nodeid), c_int(8), byref(count), byref(addresses))
        return code, [_address(addresses[i]) for i in range(count.value)] if code == OK else []

    def node_status(self, nodeid: int, version: int = 1) -> tuple[int, dict[str, Any], list[tuple[Any, ...]]]:
        status = _NodeStatus()
        code = self.call("node_status_get", c_uint32(nodeid), c_uint32(version), byref(status))
        if code != OK:
            return code, {}, []
        head = {field[0]: getattr(status, field[0]) for field in _NodeStatus._fields_ if field[0] != "links"}
        return code, head, [tuple(getattr(link, field[0]) for field in _Link._fields_) for link in status.links]

    def local(self) -> tuple[int, int]:
        nodeid = c_uint32()
        return self.call("local_get", byref(nodeid)), nodeid.value

    def kill(self, nodeid: int, reason: bytes) -> int:
        return self.call("kill_node", c_uint32(nodeid), c_char_p(reason))


def _address(address: _Address) -> tuple[int, str]:
    raw = ctypes.string_at(ctypes.addressof(address) + _Address.sockaddr.offset, 28)
    family = int.from_bytes(raw[:2], sys.byteorder)
    packed = raw[4:8] if family == socket.AF_INET else raw[8:24]
    return family, socket.inet_ntop(socket.AF_INET if family == socket.AF_INET else socket.AF_INET6, packed)


for _function in ("votequorum_qdevice_poll",):
    Votequorum.library[_function].argtypes = [c_uint64, c_char_p, c_uint32, _RingId]
for _function in ("corosync_cfg_ring_status_get",):
    Cfg.library[_function].argtypes = [c_uint64, c_void_p, c_void_p, c_void_p]

if __name__ == "__main__":
    exec(compile(sys.stdin.read(), "script", "exec"))
