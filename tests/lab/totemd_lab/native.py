"""One question on the native socket, in the plainest way."""

import socket
import struct
from pathlib import Path
from typing import Any

import msgpack


def status(path: Path, timeout_s: float = 2.0) -> dict[str, Any] | None:
    """The node's status, or None while nobody answers."""
    return ask(path, "status", timeout_s)


def ask(path: Path, request: str, timeout_s: float = 2.0) -> dict[str, Any] | None:
    """The answer to a request without arguments, or None when there is none in time or it is an error."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            _send(connection, {"hello": {"protocol": 1, "client": "lab"}})
            _receive(connection)
            _send(connection, {"id": 1, "do": request})
            while True:
                frame = _receive(connection)
                if frame.get("id") == 1:
                    answer: dict[str, Any] | None = frame.get("ok")
                    return answer
    except OSError:
        return None


def _send(connection: socket.socket, frame: dict[str, Any]) -> None:
    data = msgpack.packb(frame)
    connection.sendall(struct.pack(">I", len(data)) + data)


def _receive(connection: socket.socket) -> dict[str, Any]:
    (size,) = struct.unpack(">I", _receive_exactly(connection, 4))
    frame: dict[str, Any] = msgpack.unpackb(_receive_exactly(connection, size))
    return frame


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionError("closed")
        data += piece
    return data
