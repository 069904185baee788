"""The client's side of the native socket without IO: pieces, replies, events, and a daemon that talks nonsense."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_daemon import STATUS
from totemd.client import requests
from totemd.client.errors import ConnectionLost, CutOff, ProtocolError, Refused, TotemdClientError, TryAgain
from totemd.client.protocol import ClientProtocol, Incoming, Pushed, Ready, Reply
from totemd.client.records import (
    CmapChanged,
    CmapValue,
    Delivered,
    GroupChange,
    GroupMember,
    MembersChanged,
    Membership,
    QuorumStatus,
    Synchronized,
    Welcome,
    decode_current,
    decode_status,
)
from totemd.ids import RingId
from totemd.ipc.frames import FrameDecoder, encode_frame
from totemd.limits import FRAME_SIZE_MAX

HELLO = {
    "hello": {"protocol": 1, "server": "totemd", "version": "1", "nodeid": 7, "cluster_name": "c", "incarnation": "f"}
}
RING = {"rep": 1, "seq": 9, "id": "1.9"}


def take_all(protocol: ClientProtocol) -> list[Incoming]:
    taken = []
    while (incoming := protocol.take()) is not None:
        taken.append(incoming)
    return taken


def greeted() -> ClientProtocol:
    protocol = ClientProtocol("test")
    protocol.append(encode_frame(HELLO))
    assert take_all(protocol) == [Welcome("1", 7, "c", "f")]
    return protocol


def pushed(name: str, data: dict[str, Any]) -> object:
    protocol = greeted()
    protocol.append(encode_frame({"event": name, "of": 3, "data": data}))
    [incoming] = take_all(protocol)
    assert isinstance(incoming, Pushed)
    assert incoming.of == 3
    return incoming.event


def test_hello_names_protocol_and_client() -> None:
    [frame] = FrameDecoder().feed(ClientProtocol("me").hello())
    assert frame == {"hello": {"protocol": 1, "client": "me"}}


def test_requests_have_fresh_ids_and_their_arguments() -> None:
    protocol = greeted()
    sent = [protocol.request(request) for request in (requests.status(), requests.expected(3))]
    assert [FrameDecoder().feed(frame)[0] for _, frame in sent] == [
        {"id": sent[0][0], "do": "status", "with": {}},
        {"id": sent[1][0], "do": "expected", "with": {"votes": 3}},
    ]
    assert sent[0][0] != sent[1][0]


def test_too_large_request_is_refused_here() -> None:
    with pytest.raises(Refused) as caught:
        greeted().request(requests.cpg_multicast(b"g", bytes(FRAME_SIZE_MAX), safe=False))
    assert caught.value.code == "too_big"


def test_number_that_no_frame_can_hold_is_refused_here() -> None:
    with pytest.raises(Refused) as caught:
        greeted().request(requests.expected(2**70))
    assert caught.value.code == "bad_request"


@given(st.lists(st.integers(1, 40), max_size=30))
def test_pieces_of_any_size_make_the_same_frames(sizes: list[int]) -> None:
    data = encode_frame({"id": 1, "ok": 5}) + encode_frame({"event": "ready", "of": 0, "data": {}})
    data += encode_frame({"id": 2, "error": {"code": "exist", "message": "there"}})
    protocol, taken = greeted(), []
    for size in [*sizes, len(data)]:
        protocol.append(data[:size])
        data = data[size:]
        taken += take_all(protocol)
    ok, ready, refused = taken
    assert ok == Reply(1, 5, None)
    assert ready == Ready()
    assert isinstance(refused, Reply)
    assert isinstance(refused.error, Refused)
    assert refused.error.code == "exist"


def test_try_again_has_its_own_class() -> None:
    protocol = greeted()
    protocol.append(encode_frame({"id": 1, "error": {"code": "try_again", "message": "full"}}))
    [reply] = take_all(protocol)
    assert isinstance(reply, Reply)
    assert isinstance(reply.error, TryAgain)


def test_events_are_records() -> None:
    members = [{"nodeid": 1, "pid": 10}]
    assert pushed("deliver", {"group": b"g", "nodeid": 1, "pid": 10, "data": b"x"}) == Delivered(b"g", 1, 10, b"x")
    assert pushed(
        "members",
        {"group": b"g", "members": members, "joined": [{"nodeid": 1, "pid": 10, "reason": "join"}], "left": []},
    ) == MembersChanged(b"g", (GroupMember(1, 10),), (GroupChange(1, 10, "join"),), ())
    assert pushed(
        "membership",
        {"kind": "transitional", "ring": RING, "members": [1], "joined": [], "left": [2], "reason": "token lost"},
    ) == Membership("transitional", RingId(1, 9), (1,), (), (2,), "token lost")
    assert pushed("synchronized", {"ring": RING}) == Synchronized(RingId(1, 9))
    assert pushed(
        "cmap", {"event": "add", "key": "a.b", "new": {"type": "u8", "value": 1}, "old": None}
    ) == CmapChanged("add", "a.b", CmapValue("a.b", "u8", 1), None)


def test_current_state_of_track_reads_as_events() -> None:
    membership = {"ring": RING, "members": [1, 2]}
    quorum = {"quorate": True, "ring": RING, "expected_votes": 2, "total_votes": 2, "quorum": 2, "nodes": []}
    assert decode_current({"membership": membership, "quorum": quorum}) == (
        Membership("regular", RingId(1, 9), (1, 2), (), (), ""),
        QuorumStatus(True, RingId(1, 9), 2, 2, 2, ()),
    )
    assert decode_current({"membership": None, "quorum": None}) == ()


def test_unknown_events_and_keys_are_for_newer_clients() -> None:
    protocol = greeted()
    protocol.append(
        encode_frame({"event": "novelty", "of": 3, "data": {}}) + encode_frame({"id": 1, "ok": 0, "new": 1})
    )
    assert take_all(protocol) == [Reply(1, 0, None)]


def test_end_without_a_word_and_with_one() -> None:
    protocol = greeted()
    lost = protocol.ended()
    assert isinstance(lost, ConnectionLost)
    assert not isinstance(lost, CutOff)
    protocol.append(encode_frame({"event": "closing", "of": 0, "data": {"reason": "client does not read"}}))
    assert take_all(protocol) == []
    lost = protocol.ended()
    assert isinstance(lost, CutOff)
    assert lost.reason == "client does not read"


def test_error_without_an_id_ends_the_connection() -> None:
    protocol = greeted()
    protocol.append(encode_frame({"error": {"code": "bad_frame", "message": "no map"}}))
    with pytest.raises(CutOff, match="no map"):
        protocol.take()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"error": {"code": "protocol", "message": "speak 2", "supported": [2]}}, ProtocolError),
        ({"error": {"code": "access", "message": "uid 5 may not"}}, Refused),
        ({"id": 1, "ok": {}}, ProtocolError),
        ({"hello": 5}, ProtocolError),
        ({"hello": {"version": "1"}}, ProtocolError),
    ],
)
def test_bad_answers_to_hello(answer: dict[str, Any], expected: type[TotemdClientError]) -> None:
    protocol = ClientProtocol("test")
    protocol.append(encode_frame(answer))
    with pytest.raises(expected):
        protocol.take()


@given(st.binary(max_size=200))
def test_nonsense_is_a_protocol_error(data: bytes) -> None:
    protocol = greeted()
    protocol.append(data)
    with suppress(ProtocolError, CutOff):
        take_all(protocol)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 9) | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["rep", "seq", "total"]), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(STATUS)), values))
def test_status_of_another_shape_is_a_protocol_error(damage: dict[str, Any]) -> None:
    with suppress(ProtocolError):
        decode_status({**STATUS, **damage})


def test_status_is_a_record() -> None:
    status = decode_status(STATUS)
    assert status.ring == RingId(1, 9)
    assert status.votes.quorum == 2
    assert [member.name for member in status.members] == ["n1", "n2", "n3"]
    assert status.last_change is not None
    assert status.last_change.reason == "n3 joined"
