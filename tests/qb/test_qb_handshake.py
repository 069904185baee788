"""The first bytes of a connection."""

import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.errors import BadRing
from totemd.ipc.ports import Credentials
from totemd.qb import handshake
from totemd.qb.handshake import ConnectionType
from totemd.shell.qb_sockets import abstract_address, receive_with_credentials

REQUEST = struct.Struct("=i4xi4xI4x")


@given(st.binary(min_size=24, max_size=24))
def test_any_bytes_are_a_bounded_request_or_none(data: bytes) -> None:
    ident, size, _ = REQUEST.unpack(data)
    if (ident, size) == (-1, 24):
        assert 12328 <= handshake.decode_request(data) <= 1048576
    else:
        with pytest.raises(BadRing, match="the connection begins with message"):
            handshake.decode_request(data)


@given(wanted=st.integers(0, 2**32 - 1))
def test_size_is_what_the_client_wants_within_bounds(wanted: int) -> None:
    assert handshake.decode_request(REQUEST.pack(-1, 24, wanted)) == min(max(wanted, 12328), 1048576)


def test_answers_are_where_libqb_looks_for_them() -> None:
    reply = handshake.accept(ConnectionType.SHARED_MEMORY, 1048576, 7, "/a", "/b", "/c")
    assert len(reply) == 12328
    assert struct.unpack_from("=i4xi4xi4xiIQ", reply) == (-1, 12328, 0, 1, 1048576, 7)
    assert [reply[at : at + 3] for at in (40, 4136, 8232)] == [b"/a\0", b"/b\0", b"/c\0"]
    assert handshake.refuse(11) == struct.pack("=i4xi4xi", -1, 12328, -11).ljust(12328, b"\0")


def test_name_is_filled_to_the_end_of_the_address() -> None:
    assert abstract_address("cpg") == b"\0cpg" + bytes(104)


def test_credentials_come_with_the_first_bytes_and_no_descriptor_stays_open() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        before = len(os.listdir("/proc/self/fd"))
        socket.send_fds(there, [bytes(24)], [0, 1, 2])
        data, credentials = receive_with_credentials(here, 24)
        assert data == bytes(24)
        assert credentials == Credentials(os.getpid(), os.getuid(), os.getgid())
        assert len(os.listdir("/proc/self/fd")) == before
