"""What goes into one system call, and that the same datagrams come out of it."""

import socket
from contextlib import closing
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.shell.segments import (
    CONTROL_SIZE,
    SEGMENTS_BYTES_MAX,
    SEGMENTS_MAX,
    SOL_UDP,
    UDP_GRO,
    can_segment,
    coalesce,
    runs,
    send_together,
    split,
)
from totemd.wire.packets import PacketType

Sizes = st.lists(st.sampled_from([0, 1, 5, 70, 1471, 1472, 9000, 65507]), max_size=200)


def filled(sizes: list[int]) -> list[bytes]:
    return [bytes([number % 251]) * size for number, size in enumerate(sizes)]


@given(Sizes)
def test_runs_keep_all_in_order_and_within_limits(sizes: list[int]) -> None:
    datagrams = filled(sizes)
    made = list(runs(datagrams))
    assert [data for run in made for data in run] == datagrams
    for run in made:
        size = len(run[0])
        assert len(run) <= SEGMENTS_MAX
        assert all(len(data) == size for data in run[:-1])
        assert len(run) == 1 or (0 < len(run[-1]) <= size and sum(map(len, run)) <= SEGMENTS_BYTES_MAX)


@given(Sizes)
def test_what_was_put_together_is_split_alike(sizes: list[int]) -> None:
    for run in runs(filled(sizes)):
        assert split(b"".join(run), [(SOL_UDP, UDP_GRO, pack("=i", len(run[0])))]) == run


@given(st.binary(max_size=100), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200), st.binary(max_size=8))))
def test_nothing_is_lost_whatever_the_kernel_says(data: bytes, control: list[tuple[int, int, bytes]]) -> None:
    assert b"".join(split(data, control)) == data


def packets(count: int) -> list[bytes]:
    """Of a visit of the token: full ones, and one that is not."""
    head = bytes((0, 0, 0, PacketType.MCAST))
    return [head + number.to_bytes(4, "big") + bytes(1464) for number in range(count)] + [head + b"last"]


def test_receiver_that_does_not_ask_for_it_gets_single_datagrams() -> None:
    """As corosync's are."""
    with (
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender,
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver,
    ):
        if not can_segment(sender):
            pytest.skip("this kernel does not know UDP_SEGMENT")
        receiver.settimeout(5)
        receiver.bind(("127.0.0.1", 0))
        sent = packets(5)
        send_together(sender, sent, receiver.getsockname())
        assert [receiver.recv(2000) for _ in sent] == sent
        coalesce(receiver)
        send_together(sender, sent, receiver.getsockname())
        data, control, _, _ = receiver.recvmsg(65536, CONTROL_SIZE)
        assert split(data, control) == sent
