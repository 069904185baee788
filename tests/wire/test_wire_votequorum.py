"""The codecs of votequorum's messages: bytes from a real ring, round trips, truncations."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.errors import BadPacket
from totemd.wire.service import decode_service_header
from totemd.wire.votequorum import (
    NODE_FIRST,
    NODE_QUORATE,
    NodeInfo,
    QdeviceReconfigure,
    QdeviceReg,
    Reconfigure,
    decode_nodeinfo,
    decode_qdevice_reconfigure,
    decode_qdevice_reg,
    decode_reconfigure,
    encode_nodeinfo,
    encode_qdevice_reconfigure,
    encode_qdevice_reg,
    encode_reconfigure,
)

U32 = st.integers(0, 2**32 - 1)
NAMES = st.binary(max_size=254).filter(lambda name: b"\0" not in name)


@pytest.mark.parametrize(
    ("captured", "info"),
    [
        ("0000050000000000200000000000000001000000010000000300000008000000", NodeInfo(1, 1, 3, NODE_FIRST)),
        ("0000050000000000200000000000000000000000000000000000000000000000", NodeInfo(0, 0, 0, 0)),
        ("0000050000000000200000000000000003000000010000000300000001000000", NodeInfo(3, 1, 3, NODE_QUORATE)),
    ],
)
def test_nodeinfo_of_corosync_3_1_7(captured: str, info: NodeInfo) -> None:
    message = bytes.fromhex(captured)
    assert decode_nodeinfo(message) == info
    assert encode_nodeinfo(info) == message


@given(st.builds(NodeInfo, U32, U32, U32, U32))
def test_nodeinfo_round_trip(info: NodeInfo) -> None:
    assert decode_nodeinfo(encode_nodeinfo(info)) == info


@given(st.builds(Reconfigure, U32, U32, st.integers(0, 255)))
def test_reconfigure_round_trip(change: Reconfigure) -> None:
    assert decode_reconfigure(encode_reconfigure(change)) == change


@given(st.builds(QdeviceReg, U32, NAMES))
def test_qdevice_reg_round_trip(request_: QdeviceReg) -> None:
    assert decode_qdevice_reg(encode_qdevice_reg(request_)) == request_


@given(st.builds(QdeviceReconfigure, NAMES, NAMES))
def test_qdevice_reconfigure_round_trip(change: QdeviceReconfigure) -> None:
    assert decode_qdevice_reconfigure(encode_qdevice_reconfigure(change)) == change


@pytest.mark.parametrize(
    ("message", "decode", "function", "size"),
    [
        (encode_nodeinfo(NodeInfo(1, 2, 3, 4)), decode_nodeinfo, 0, 32),
        (encode_reconfigure(Reconfigure(1, 2, 3)), decode_reconfigure, 1, 32),
        (encode_qdevice_reg(QdeviceReg(1, b"net")), decode_qdevice_reg, 2, 280),
        (encode_qdevice_reconfigure(QdeviceReconfigure(b"a", b"b")), decode_qdevice_reconfigure, 3, 528),
    ],
)
def test_header_sizes_and_truncations(
    message: bytes, decode: Callable[[bytes], object], function: int, size: int
) -> None:
    header = decode_service_header(message)
    assert (header.service, header.function, header.size, len(message)) == (5, function, size, size)
    for length in range(len(message)):
        with pytest.raises(BadPacket):
            decode(message[:length])


def test_names_must_fit_and_end() -> None:
    for name in (b"x" * 255, b"a\0b"):
        with pytest.raises(ValueError, match="at most 254 bytes"):
            encode_qdevice_reg(QdeviceReg(1, name))
    endless = encode_qdevice_reg(QdeviceReg(1, b""))[:20] + b"x" * 260
    with pytest.raises(BadPacket):
        decode_qdevice_reg(endless)
    with pytest.raises(BadPacket):
        decode_qdevice_reconfigure(encode_qdevice_reconfigure(QdeviceReconfigure(b"", b""))[:16] + b"x" * 512)


def test_counts_beyond_32_bits_are_sent_as_the_highest_number() -> None:
    info = decode_nodeinfo(encode_nodeinfo(NodeInfo(1, 2**40, 2**33, 0)))
    assert (info.votes, info.expected_votes) == (2**32 - 1, 2**32 - 1)
