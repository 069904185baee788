"""A scripted stand-in for totemd on a real Unix socket: tests say how it answers and what it pushes."""

import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import msgpack

Frame: TypeAlias = dict[str, Any]
Handler: TypeAlias = "Callable[[FakeConnection, int, Frame], object]"

SILENCE = object()
"""What a handler returns that does not want to reply."""

STATUS: Frame = {
    "cluster_name": "lab",
    "nodeid": 1,
    "name": "n1",
    "version": "0.1.0",
    "incarnation": "a1",
    "ring": {"rep": 1, "seq": 9, "id": "1.9"},
    "ring_state": "operational",
    "syncing": False,
    "provider": "corosync_votequorum",
    "quorate": True,
    "votes": {"expected": 3, "highest": 3, "total": 3, "quorum": 2},
    "flags": ["Quorate"],
    "members": [
        {"nodeid": 1, "name": "n1", "address": "192.0.2.1", "votes": 1, "local": True},
        {"nodeid": 2, "name": "n2", "address": "192.0.2.2", "votes": 1, "local": False},
        {"nodeid": 3, "name": "n3", "address": "192.0.2.3", "votes": 1, "local": False},
    ],
    "last_change": {"reason": "n3 joined", "ring": {"rep": 1, "seq": 9, "id": "1.9"}, "time_ago_s": 4.5},
}

NODES: Frame = {
    "nodes": [member | {"state": "member"} for member in STATUS["members"]]
    + [{"nodeid": 4, "name": "n4", "address": "192.0.2.4", "votes": 1, "local": False, "state": "never"}]
}


class FakeRefusal(Exception):
    """Raised by a handler: the error reply."""

    def __init__(self, code: str, message: str = "no") -> None:
        super().__init__(message)
        self.code = code


class FakeConnection:
    """One client, as the daemon sees it."""

    def __init__(self, daemon: "FakeDaemon", connection: socket.socket) -> None:
        self._daemon = daemon
        self._socket = connection
        self._lock = threading.Lock()
        self.seen: list[tuple[str, Frame]] = []

    def send(self, frame: Mapping[str, object]) -> None:
        body: bytes = msgpack.packb(frame)
        self.send_raw(struct.pack(">I", len(body)) + body)

    def send_raw(self, data: bytes) -> None:
        with self._lock:
            self._socket.sendall(data)

    def event(self, of: int, name: str, data: Mapping[str, object]) -> None:
        self.send({"event": name, "of": of, "data": data})

    def close(self, reason: str | None = None) -> None:
        """End the connection, with or without a word."""
        if reason is not None:
            self.event(0, "closing", {"reason": reason})
        self._socket.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        try:
            with self._socket:
                hello = self._read()
                if hello is None:
                    return
                self.send(self._daemon.greeting(hello))
                while (frame := self._read()) is not None:
                    self._answer(frame)
        except OSError:
            pass

    def _answer(self, frame: Frame) -> None:
        ident, do, arguments = frame["id"], frame["do"], frame.get("with", {})
        self.seen.append((do, arguments))
        self._daemon.seen.append((do, arguments))
        handler = self._daemon.handlers.get(do)
        try:
            if handler is None:
                raise FakeRefusal("bad_request", f"unknown request {do!r}")
            value = handler(self, ident, arguments)
        except FakeRefusal as refusal:
            self.send({"id": ident, "error": {"code": refusal.code, "message": str(refusal)}})
            return
        if value is not SILENCE:
            self.send({"id": ident, "ok": value})

    def _read(self) -> Frame | None:
        head = self._read_exactly(4)
        if head is None:
            return None
        body = self._read_exactly(struct.unpack(">I", head)[0])
        frame: Frame | None = None if body is None else msgpack.unpackb(body)
        return frame

    def _read_exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            if not piece:
                return None
            data += piece
        return data


class FakeDaemon:
    """Listens while its `with` lasts; `handlers` maps request names to what answers them."""

    def __init__(self, path: Path, *, incarnation: str = "a1") -> None:
        self.path = path
        self.incarnation = incarnation
        self.seen: list[tuple[str, Frame]] = []
        self.connections: list[FakeConnection] = []
        self.handlers: dict[str, Handler] = {
            "status": lambda connection, ident, arguments: STATUS,
            "nodes": lambda connection, ident, arguments: NODES,
        }
        self.greet: Callable[[Frame], Frame] | None = None

    def __enter__(self) -> Self:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening and cut all connections; the path is free again. A second call does nothing."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            try:
                connection.close()
            except OSError:
                continue
        self.path.unlink(missing_ok=True)

    def on(self, do: str, value: object) -> None:
        """Answer `do` with `value` from now on; a FakeRefusal is raised instead."""

        def handler(connection: FakeConnection, ident: int, arguments: Frame) -> object:
            if isinstance(value, FakeRefusal):
                raise value
            return value

        self.handlers[do] = handler

    def greeting(self, hello: Frame) -> Frame:
        """The answer to a client's hello."""
        if self.greet is not None:
            return self.greet(hello)
        assert hello["hello"]["protocol"] == 1
        return {
            "hello": {
                "protocol": 1,
                "server": "totemd",
                "version": "0.1.0",
                "nodeid": 1,
                "cluster_name": "lab",
                "incarnation": self.incarnation,
            }
        }

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            session = FakeConnection(self, connection)
            self.connections.append(session)
            threading.Thread(target=session.serve, daemon=True).start()


def echo_group(daemon: FakeDaemon) -> None:
    """Groups of one: a multicast comes back at once, before its own reply."""
    joined = {}

    def join(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        joined[arguments["group"]] = ident
        members = [{"nodeid": 1, "pid": 1}]
        connection.event(ident, "members", {"group": arguments["group"], "members": members, "joined": [], "left": []})
        return {}

    def multicast(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        data = {"group": arguments["group"], "nodeid": 1, "pid": 1, "data": arguments["data"]}
        connection.event(joined[arguments["group"]], "deliver", data)
        return {}

    daemon.handlers["cpg_join"] = join
    daemon.handlers["cpg_multicast"] = multicast
    daemon.on("cpg_leave", {})
