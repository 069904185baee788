"""A client of libqb's sockets that does as it is told, right or wrong; and one that is libqb itself.

Run as a program beside a daemon: `qb_raw.py PART NUMBER`, see PARTS.
"""

import array
import ctypes
import errno
import os
import random
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

REQUEST = struct.Struct("=i4xi4x")
AUTHENTICATE = struct.Struct("=i4xi4xI4x")
REPLY = struct.Struct("=i4xi4xi4xiIQ4096s4096s4096s")
MESSAGE_MAX = 1048576
DATA_SIZE = 1052672
COMMITTED = 0xA1A1A1A1
DELIVER = 5
"""Event of cpg."""
LOCAL_GET = 4
"""Request of cpg without fields; its answer has 32 bytes."""


def request(ident: int, body: bytes = b"", size: int | None = None) -> bytes:
    """A request with a header that tells the truth, or says `size`."""
    return REQUEST.pack(ident, REQUEST.size + len(body) if size is None else size) + body


def join_request(group: bytes, pid: int) -> bytes:
    """Of cpg."""
    return request(0, struct.pack("=I4x128sII", len(group), group, pid, 0).ljust(152, b"\0"))


def multicast_request(body: bytes) -> bytes:
    """Of cpg; it has no response."""
    return struct.pack("=i4xi4xi4xI4xI4x", 2, 40 + len(body), 0, 0, len(body)) + body


class RawClient:
    """A connection by shared memory whose every byte is open to us."""

    def __init__(self, service: str) -> None:
        self.stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.stream.settimeout(10)
        self.stream.connect(("\0" + service).encode().ljust(108, b"\0"))
        self.stream.send(AUTHENTICATE.pack(-1, AUTHENTICATE.size, MESSAGE_MAX))
        reply = self.stream.recv(REPLY.size, socket.MSG_WAITALL)
        self.error, self.kind, self.message_max = struct.unpack_from("=i4xiI", reply, 16)
        self.paths = [field.split(b"\0")[0].decode() for field in REPLY.unpack(reply)[6:]]
        self.files: dict[str, int] = {}
        if not self.error and self.kind == 1:
            for name, path in zip(("request", "response", "event"), self.paths, strict=True):
                for part in ("header", "data"):
                    self.files[f"{name}-{part}"] = os.open(f"{path}-{part}", os.O_RDWR)
        self.place = 0
        """Of the next request, in words."""

    def write(self, file: str, offset: int, data: bytes) -> None:
        """Change shared memory."""
        os.pwrite(self.files[file], data, offset)

    def put(self, message: bytes, length: int | None = None, mark: int = COMMITTED, *, announce: bool = True) -> None:
        """Put a chunk into the ring of requests, not minding its end, and announce it."""
        chunk = struct.pack("=II", len(message) if length is None else length, mark) + message
        self.write("request-data", self.place * 4, chunk)
        self.place += -(-len(chunk) // 4)
        value = struct.unpack("=I", os.pread(self.files["request-header"], 4, 8208))[0]
        self.write("request-header", 8208, struct.pack("=I", value + 1))
        if announce:
            self.notify()

    def notify(self, count: int = 1) -> None:
        """Bytes in the stream."""
        self.stream.send(bytes(count))

    def closed(self, timeout_s: float = 10.0) -> bool:
        """Whether the daemon closes the connection."""
        self.stream.settimeout(timeout_s)
        try:
            while self.stream.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Go."""
        self.stream.close()
        for descriptor in self.files.values():
            os.close(descriptor)


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class QbClient:
    """libqb's own client."""

    def __init__(self, service: str, library: str = "libqb.so.100") -> None:
        self._qb = ctypes.CDLL(library, use_errno=True)
        self._event = ctypes.create_string_buffer(MESSAGE_MAX)
        self._qb.qb_ipcc_connect.restype = ctypes.c_void_p
        self._qb.qb_ipcc_sendv_recv.restype = self._qb.qb_ipcc_event_recv.restype = ctypes.c_ssize_t
        self._connection = ctypes.c_void_p(self._qb.qb_ipcc_connect(service.encode(), ctypes.c_size_t(MESSAGE_MAX)))
        if not self._connection:
            raise OSError(ctypes.get_errno(), "qb_ipcc_connect")

    def call(self, message: bytes, size: int, timeout_ms: int = 20000) -> bytes:
        """A request and its response of up to `size` bytes. OSError as libqb has it."""
        answer = ctypes.create_string_buffer(size)
        vector = _Vector(message, len(message))
        got = self._qb.qb_ipcc_sendv_recv(
            self._connection, ctypes.byref(vector), 1, answer, ctypes.c_size_t(size), ctypes.c_int32(timeout_ms)
        )
        if got < 0:
            raise OSError(-got, "qb_ipcc_sendv_recv")
        return answer.raw[:got]

    def send(self, message: bytes) -> int:
        """A request without response; a negative errno."""
        self._qb.qb_ipcc_send.restype = ctypes.c_ssize_t
        return int(self._qb.qb_ipcc_send(self._connection, message, ctypes.c_size_t(len(message))))

    def event(self, timeout_ms: int = 10000) -> bytes:
        """The next event. OSError as libqb has it."""
        got = self._qb.qb_ipcc_event_recv(
            self._connection, self._event, ctypes.c_size_t(MESSAGE_MAX), ctypes.c_int32(timeout_ms)
        )
        if got < 0:
            raise OSError(-got, "qb_ipcc_event_recv")
        return ctypes.string_at(self._event, got)

    def close(self) -> None:
        """Disconnect."""
        self._qb.qb_ipcc_disconnect(self._connection)


def check_answer(answer: bytes) -> None:
    """Of LOCAL_GET."""
    ident, size, error, nodeid = struct.unpack("=i4xi4xi4xI", answer[:28])
    assert (ident, size, error, nodeid) == (7, 32, 1, 1), (ident, size, error, nodeid)


def _multicast_for_ever() -> None:
    client = QbClient("cpg")
    client.call(join_request(b"g", os.getpid()), 24)
    message = multicast_request(bytes(2000))
    while True:
        client.send(message)


def _connect(count: int) -> None:
    for number in range(count):
        client = QbClient(("cpg", "cmap", "cfg", "quorum", "votequorum")[number % 5])
        if number % 5 == 0:
            check_answer(client.call(request(LOCAL_GET), 32))
        if number % 7:
            client.close()
        else:
            # as a process that just ends
            pid = os.fork()
            if not pid:
                os._exit(0)
            os.waitpid(pid, 0)
            client.close()


def _killed(count: int) -> None:
    for number in range(count):
        pid = os.fork()
        if not pid:
            _multicast_for_ever()
        time.sleep(0.02 + (number % 10) / 100)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _serve(seconds: float) -> None:
    client = QbClient("cpg")
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        check_answer(client.call(request(LOCAL_GET), 32))
        count += 1
        time.sleep(0.001)
    client.close()
    print(count)


def _truncate(client: RawClient, *names: str) -> None:
    for name in client.files:
        if any(part in name for part in names):
            os.ftruncate(client.files[name], 0)


def _misbehave(client: RawClient, how: int, chance: random.Random) -> bool:
    """Do one wrong thing; whether the daemon must close the connection."""
    if how == 0:
        client.put(request(LOCAL_GET), announce=False)
        _truncate(client, "request-header")
        client.notify()
    elif how == 1:
        client.put(request(LOCAL_GET))
        _truncate(client, "header", "data")
        with suppress(BrokenPipeError):  # the first request may have met the truncated files already
            client.notify()
    elif how == 2:
        client.write("request-data", 0, chance.randbytes(65536))
        client.write("request-header", 8208, b"\x01\0\0\0")
        client.notify()
    elif how == 3:
        client.put(request(LOCAL_GET), length=0xFFFFFFFF)
    elif how == 4:
        client.write("request-header", 0, chance.randbytes(12))
        client.put(request(LOCAL_GET))
        return False
    elif how == 5:
        client.write("response-header", 0, b"\xff" * 12)
        with suppress(BrokenPipeError):
            while client.place < 200_000:
                client.put(request(LOCAL_GET))
    elif how == 6:
        for size in (-1, 0, 15, 17, 1 << 30, -(1 << 31)):
            client.put(request(chance.choice((-1, 77, 4, 2)), size=size))
        return False
    elif how == 7:
        client.notify(5000)
        return False
    elif how == 8:
        client.put(b"short")
    elif how == 9:
        client.put(join_request(b"g", os.getpid()))
        _truncate(client, "event")
        return False
    elif how == 10:
        client.write("event-header", 0, chance.randbytes(8248))
        client.write("response-header", 0, chance.randbytes(8248))
        client.put(join_request(b"g", os.getpid()))
        return False
    elif how == 11:
        for path in client.paths:
            for part in ("header", "data"):
                os.unlink(f"{path}-{part}")
        directory = Path(client.paths[0]).parent
        directory.rename(directory.with_name("elsewhere"))
        directory.symlink_to("/etc")
        client.put(request(-3))
        assert client.closed()
        directory.unlink()
        directory.with_name("elsewhere").rmdir()
    elif how == 12:
        client.stream.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
        return False
    elif how == 13:
        client.put(request(LOCAL_GET), mark=0xA110CED0)
    return True


WAYS = 14


def _strangers() -> None:
    """Those who never get as far as rings."""
    for first in (b"", b"\xff" * 24, bytes(24), b"GET / HTTP/1.1\r\n\r\nHost: x\r\n"):
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.connect(b"\0cpg".ljust(108, b"\0"))
        stream.send(first)
        if len(first) >= 24:
            stream.settimeout(10)
            with suppress(ConnectionResetError):
                assert stream.recv(1) == b""
        stream.close()


def _hostile(count: int) -> None:
    chance = random.Random(1)
    _strangers()
    kept = []
    for number in range(count):
        client = RawClient("cpg")
        assert client.error == 0
        if _misbehave(client, number % WAYS, chance):
            assert client.closed(), f"way {number % WAYS} is not cut off"
        kept.append(client)
    for client in kept:
        client.close()


def _take(seconds: float) -> None:
    """Have a service's name."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(b"\0quorum".ljust(108, b"\0"))
    print("bound", flush=True)
    time.sleep(seconds)


def _stream(count: int, size: int) -> None:
    """Multicast without a pause, read nothing meanwhile, and then find everything in its order."""
    client = QbClient("cpg")
    client.call(join_request(b"stream", os.getpid()), 24)
    for number in range(count):
        body = struct.pack("=I", number) * (size // 4)
        while (error := client.send(multicast_request(body))) == -errno.EAGAIN:
            time.sleep(0.001)
        assert error > 0, error
    expected = 0
    while expected < count:
        event = client.event()
        if struct.unpack_from("=i", event)[0] == DELIVER:
            assert event[184:] == struct.pack("=I", expected) * (size // 4), expected
            expected += 1
    client.close()


def _streams(count: int) -> None:
    _stream(count, 500)
    _stream(12, 1_000_000)


def _deaf(count: int) -> None:
    """One member of a group does not read what the other one multicasts; what it is told at last."""
    deaf, sender = QbClient("cpg"), QbClient("cpg")
    deaf.call(join_request(b"deaf", 1), 24)
    sender.call(join_request(b"deaf", 2), 24)
    for _ in range(count):
        while sender.send(multicast_request(bytes(1_000_000))) == -errno.EAGAIN:
            time.sleep(0.001)
        while struct.unpack_from("=i", sender.event())[0] != DELIVER:
            pass
    try:
        while deaf.event():
            pass
    except OSError as error:
        print(errno.errorcode[error.errno or 0])
    check_answer(sender.call(request(LOCAL_GET), 32))


def _kind(_: int) -> None:
    client = RawClient("cpg")
    print(client.kind)
    client.close()


def _user(uid: int) -> None:
    """What a user other than root is told, as errno(3)."""
    os.setgid(uid)
    os.setuid(uid)
    client = RawClient("cpg")
    print(client.error)
    if not client.error:
        client.put(request(LOCAL_GET))
        check_answer(QbClient("cpg").call(request(LOCAL_GET), 32))
    client.close()


PARTS = {
    "connect": _connect,
    "deaf": _deaf,
    "hostile": _hostile,
    "killed": _killed,
    "kind": _kind,
    "serve": _serve,
    "stream": lambda count: _stream(count, 500),
    "streams": _streams,
    "take": _take,
    "user": _user,
}

if __name__ == "__main__":
    PARTS[sys.argv[1]](int(sys.argv[2]))
