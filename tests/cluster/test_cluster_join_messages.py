"""The messages of a join: there and back, and whatever else may come over the connection."""

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from totemd.cluster.join_messages import (
    Hello,
    Message,
    Refused,
    Report,
    Reservation,
    Stored,
    Welcome,
    decode,
    encode,
)
from totemd.cluster.probe import ProbeOrder, Target
from totemd.errors import BadPacket

HELLO = Hello(1, b"s" * 32, "sea", "ling", b"u" * 16, b"k" * 32, "192.0.2.2", 1, None)
ORDER = ProbeOrder(b"p" * 16, b"k" * 32, 5405, "239.192.1.1", 1, 1452, (Target(1, "hake", "192.0.2.1"),))
MESSAGES: tuple[Message, ...] = (
    HELLO,
    Refused("busy", ("one", "two")),
    ORDER,
    Report(()),
    Report(("a problem",)),
    Reservation(2, b"record", b"keys", 300),
    Stored(),
    Welcome(),
)


OPTIONAL: dict[type, tuple[str, ...]] = {Hello: ("nodeid",)}
"""Fields whose absence means something."""


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_there_and_back(message: Message) -> None:
    data = encode(message)
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    assert decode(data[4:]) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_field_is_needed_and_checked(message: Message) -> None:
    fields = msgpack.unpackb(encode(message)[4:])
    for name in fields:
        without = msgpack.packb({key: value for key, value in fields.items() if key != name})
        if name not in OPTIONAL.get(type(message), ()):
            with pytest.raises(BadPacket):
                decode(without)
        wrongs: tuple[object, ...] = ({}, 1.5, [[]], b"x" * 70_000, "x" * 70_000, -1, True)
        for wrong in wrongs:
            data = msgpack.packb({**fields, name: wrong})
            if name == "record" and isinstance(wrong, bytes):
                continue
            with pytest.raises(BadPacket):
                decode(data)


@given(st.binary(max_size=300))
@settings(max_examples=100)
def test_other_bytes(data: bytes) -> None:
    with pytest.raises(BadPacket):
        decode(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.binary(max_size=40),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
        max_leaves=10,
    ),
    st.sampled_from(["hello", "probe", "report", "reserved", "refused", "other"]),
)
@settings(max_examples=150)
def test_other_maps(value: object, word: str) -> None:
    fields = value if isinstance(value, dict) else {"members": value, "reasons": value, "problems": value}
    try:
        message = decode(msgpack.packb({**fields, "do": word}))
    except BadPacket:
        return
    assert decode(encode(message)[4:]) == message


def test_depth_and_size() -> None:
    for data in (
        b"\x91" * 2000,
        b"\x81\xa2do" + b"\x91" * 500,
        msgpack.packb({"do": ["hello"]}),
        msgpack.packb({1: 2}),
    ):
        with pytest.raises(BadPacket):
            decode(data)
