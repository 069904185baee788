"""What seals say to each other: codecs, and what they do with anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.errors import BadPacket
from totemd.seal import Credentials, Reason, Verdict
from totemd.seal.messages import (
    NAME_SIZE_MAX,
    TEXT_SIZE_MAX,
    Body,
    Challenge,
    Hello,
    Message,
    Response,
    Ruling,
    decode_message,
    encode_message,
)

sixteen = st.binary(min_size=16, max_size=16)
credentials = st.builds(
    Credentials, sixteen, sixteen, st.integers(0, 2**32 - 1), st.text(max_size=60), st.integers(0, 2**64 - 1), sixteen,
    st.integers(0, 2**32 - 1),
)  # fmt: skip
verdicts = st.one_of(
    st.just(Verdict(None)),
    st.builds(Verdict, st.sampled_from(Reason), st.text(max_size=90), st.text(max_size=90)),
)
messages = st.one_of(
    st.builds(Hello),
    st.builds(Challenge, sixteen),
    st.builds(Response, sixteen, credentials),
    st.builds(Ruling, sixteen, sixteen, verdicts),
    st.builds(Body, st.binary(max_size=100)),
)


@given(messages)
def test_what_is_encoded_is_decoded(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


@given(messages.filter(lambda message: not isinstance(message, Body)), st.binary(max_size=20))
def test_later_versions_may_add_something(message: Message, more: bytes) -> None:
    assert decode_message(encode_message(message) + more) == message


@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(lambda kind, data: bytes((kind,)) + data, st.integers(0, 6), st.binary(max_size=150)),
    )
)
def test_any_bytes_are_a_message_or_a_bad_packet(data: bytes) -> None:
    try:
        message = decode_message(data)
    except BadPacket:
        return
    assert decode_message(encode_message(message)) == message


@given(st.text(min_size=100, max_size=700))
def test_too_long_texts_are_cut_between_two_letters(text: str) -> None:
    shown = Credentials(bytes(16), bytes(16), 1, text, 1, bytes(16), 0)
    said = decode_message(encode_message(Response(bytes(16), shown)))
    assert isinstance(said, Response)
    assert text.startswith(said.credentials.name)
    assert NAME_SIZE_MAX - 4 < len(said.credentials.name.encode()) <= NAME_SIZE_MAX or said.credentials.name == text
    ruling = decode_message(encode_message(Ruling(bytes(16), bytes(16), Verdict(Reason.STALE, text, text))))
    assert isinstance(ruling, Ruling)
    assert text.startswith(ruling.verdict.text)
    assert len(ruling.verdict.text.encode()) <= TEXT_SIZE_MAX


def test_what_is_no_text_is_refused() -> None:
    shown = encode_message(Response(bytes(16), Credentials(bytes(16), bytes(16), 1, "name", 1, bytes(16), 0)))
    with pytest.raises(BadPacket, match="not UTF-8"):
        decode_message(shown[:-1] + b"\xff")
    ruling = encode_message(Ruling(bytes(16), bytes(16), Verdict(Reason.STALE)))
    with pytest.raises(BadPacket, match="unknown reason"):
        decode_message(ruling[:33] + b"\x0a" + ruling[34:])
    with pytest.raises(BadPacket, match="unknown control message"):
        decode_message(b"")
