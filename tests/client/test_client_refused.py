"""A client that is refused before it has said a word learns why: what it says meets a closed connection."""

import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgpack
import pytest

from totemd.client import Refused, blocking, open_client
from totemd.client.protocol import ClientProtocol


class QuickRefusal:
    """A daemon that has refused the client, and closed, before the client's hello is sent."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        hello = ClientProtocol.hello

        def late_hello(protocol: ClientProtocol) -> bytes:
            self._refuse()
            return hello(protocol)

        monkeypatch.setattr(ClientProtocol, "hello", late_hello)

    def _refuse(self) -> None:
        frame = msgpack.packb({"error": {"code": "access", "message": "uid 5 may not"}})
        with self._listener.accept()[0] as connection:
            connection.sendall(struct.pack(">I", len(frame)) + frame)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with closing(QuickRefusal(tmp_path / "sock", monkeypatch)):
        yield tmp_path / "sock"


def test_blocking_client(path: Path) -> None:
    with pytest.raises(Refused, match="uid 5 may not"):
        blocking.connect(path)


@pytest.mark.trio
async def test_trio_client(path: Path) -> None:
    with pytest.raises(Refused, match="uid 5 may not"):
        async with open_client(path):
            pass
