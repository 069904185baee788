"""A session from hello to its end: greeting, framing, dispatch, back-pressure, access, ready."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc_world import DAEMON_UID, HELLO, ROOT, Client, World
from totemd.config.model import AccessSettings
from totemd.ipc import session as session_module
from totemd.ipc.frames import FrameDecoder, encode_frame
from totemd.ipc.ports import Credentials
from totemd.ipc.requests import REQUESTS as REQUEST_TABLE
from totemd.limits import CLIENT_BACKLOG_BYTES_MAX, CMAP_VALUE_MAX, SUBSCRIPTIONS_MAX

MALLORY = Credentials(1, 1001, 2002)


def test_hello_tells_who_the_daemon_is() -> None:
    client = World().client()
    assert client.welcome == [
        {
            "hello": {
                "protocol": 1,
                "server": "totemd",
                "version": "0.1.0",
                "nodeid": 1,
                "cluster_name": "lab",
                "incarnation": "a1b2",
                "features": ["quiet"],
            }
        }
    ]
    assert client.session.client_name == "test"
    assert client.session.closing is None


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        ({"id": 1, "do": "ping"}, "first frame must be"),
        ({"hello": 1}, "first frame must be"),
        ({"hello": {"protocol": 1}, "id": 1}, "first frame must be"),
        ({"hello": {}}, "protocol is null; this server speaks 1"),
        ({"hello": {"protocol": 2, "client": "x"}}, "protocol is the number 2; this server speaks 1"),
        ({"hello": {"protocol": True, "client": "x"}}, "protocol is true"),
        ({"hello": {"protocol": 1, "client": 5}}, "client is the number 5"),
    ],
)
def test_a_wrong_hello_is_told_what_is_supported_and_ends(frame: dict[str, object], text: str) -> None:
    client = Client(World())
    client.send(frame, HELLO)
    (answer,) = client.take()
    assert answer["error"]["code"] == "protocol"
    assert answer["error"]["supported"] == [1]
    assert text in answer["error"]["message"]
    assert client.session.closing == answer["error"]["message"]


def test_a_malformed_frame_closes_that_client_alone() -> None:
    world = World()
    bad, good = world.client(), world.client()
    bad.send_bytes(encode_frame({"id": 1, "do": "ping"}) + struct.pack(">I", 2) + b"\xc1\xc1")
    ping, error = bad.take()
    assert ping["id"] == 1
    assert error["error"]["code"] == "bad_frame"
    assert bad.session.closing == error["error"]["message"]
    bad.send({"id": 2, "do": "ping"})
    assert bad.take() == []
    assert good.ok("ping") == {"time": 0.0}


@pytest.mark.parametrize("ident", [None, -1, "1", True, 1.0, b"1"])
def test_a_request_without_an_id_is_no_frame(ident: object) -> None:
    client = World().client()
    client.send({"id": ident, "do": "ping"})
    (answer,) = client.take()
    assert answer["error"]["code"] == "bad_frame"
    assert 'needs an "id", an integer from 0' in answer["error"]["message"]
    assert client.session.closing


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        ({"do": "statsu"}, 'unknown request "statsu" (did you mean "stats"?)'),
        ({"do": "x" * 500}, 'unknown request "' + "x" * 80 + '..."'),
        ({"do": 5}, "unknown request the number 5"),
        ({"do": {}}, "unknown request a map of 0 entries"),
        ({}, 'the request has no "do"; it names what to do, for example "ping"'),
        ({"do": "ping", "with": "x"}, 'ping: "with" is "x"; it must be a map of arguments'),
        ({"do": "ping", "args": {}}, 'ping: a request has id, do and with, but no "args"'),
        ({"do": "ping", "with": {"x": 1}}, 'ping: unknown argument "x"; it takes none'),
        (
            {"do": "cpg_join", "with": {"group": "g", "pit": 1}},
            'cpg_join: unknown argument "pit" (did you mean "pid"?); it takes group, pid',
        ),
        ({"do": "cpg_members", "with": {b"group": "g"}}, 'argument "group" is missing'),
        ({"do": "cpg_members", "with": {"group": "g", b"x": 1}}, "unknown argument bytes b'x'; it takes group"),
        ({"do": "cpg_join"}, 'cpg_join: argument "group" is missing; it must be bytes, or a string (taken as UTF-8)'),
        (
            {"do": "kill", "with": {"nodeid": 0}},
            'kill: argument "nodeid" is the number 0; it must be an integer from 1 to 4294967295',
        ),
        ({"do": "kill", "with": {"nodeid": True}}, 'kill: argument "nodeid" is true; it must be an integer'),
        (
            {"do": "cpg_multicast", "with": {"group": "g", "data": "x", "guarantee": "fifo"}},
            'cpg_multicast: argument "guarantee" is "fifo"; it must be one of "agreed", "safe"',
        ),
        (
            {"do": "cpg_multicast", "with": {"group": b"g", "data": 5}},
            'cpg_multicast: argument "data" is the number 5; it must be bytes',
        ),
        (
            {"do": "cpg_multicast", "with": {"group": b"g", "data": b"x", "guarantee": {}}},
            'cpg_multicast: argument "guarantee" is a map of 0 entries',
        ),
        (
            {"do": "cmap_track", "with": {"exact": 1}},
            'cmap_track: argument "exact" is the number 1; it must be true or false',
        ),
        (
            {"do": "cmap_set", "with": {"key": "a.b", "value": {}}},
            'cmap_set: argument "value" is a map of 0 entries; it must be a number, a string or bytes',
        ),
        ({"do": "cmap_get", "with": {"key": "x" * 300}}, "it must be a string of 1 to 256 characters"),
    ],
)
def test_a_bad_request_says_what_is_wrong_and_the_session_goes_on(frame: dict[str, object], text: str) -> None:
    client = World().client()
    client.send({"id": 5, **frame})
    (answer,) = client.take()
    assert answer["id"] == 5
    assert answer["error"]["code"] == "bad_request"
    assert text in answer["error"]["message"]
    assert client.ok("ping") == {"time": 0.0}


@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
def test_arbitrary_bytes_never_raise(pieces: list[bytes], greeted: bool) -> None:
    client = World().client() if greeted else Client(World())
    for piece in pieces:
        client.send_bytes(piece)
    answers = client.take()
    if client.session.closing is not None:
        assert answers[-1]["error"]["code"] in ("bad_frame", "protocol")
        assert answers[-1]["error"]["message"] == client.session.closing
    client.session.closed()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8) | st.binary(),
    lambda inner: st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([*REQUEST_TABLE, "nonsense"])
ARGUMENTS = st.dictionaries(
    st.sampled_from(sorted({argument.name for request in REQUEST_TABLE.values() for argument in request.arguments})),
    VALUES,
    max_size=4,
)
REQUESTS = st.fixed_dictionaries({"id": st.integers(0, 5), "do": NAMES, "with": ARGUMENTS})


@given(st.lists(REQUESTS, max_size=12), st.integers(1, 200))
def test_any_request_is_answered_or_promised(requests: list[dict[str, object]], step: int) -> None:
    world = World()
    world.form(1)
    client = world.client()
    data = b"".join(map(encode_frame, requests))
    for start in range(0, len(data), step):
        client.send_bytes(data[start : start + step])
    world.settle()
    assert client.session.closing is None
    replies = [frame for frame in client.take() if "event" not in frame]
    later = sum(request["do"] in ("reload", "shutdown") for request in requests)
    assert len(requests) - later <= len(replies) <= len(requests)
    client.session.closed()
    world.settle()
    assert world.cpg.groups() == ()
    assert world.node.listeners == []


def test_one_turn_handles_a_bounded_number_of_requests() -> None:
    client = World().client()
    count = session_module.FRAMES_PER_TURN_MAX
    client.session.receive(b"".join(encode_frame({"id": n, "do": "ping"}) for n in range(count + 5)))
    assert len(client.take()) == count
    assert client.session.has_pending_input
    client.session.resume()
    assert [frame["id"] for frame in client.take()] == list(range(count, count + 5))
    assert not client.session.has_pending_input


def test_a_client_that_does_not_read_is_cut_off_at_the_backlog() -> None:
    world = World()
    world.form(1)
    client = world.client()
    client.ok("cmap_set", key="big", value="x" * (CMAP_VALUE_MAX - 1))
    rounds = 0
    while client.session.closing is None:
        client.ask("cmap_get", key="big")
        rounds += 1
        assert rounds < 10_000
    assert client.session.closing.startswith("client does not read: ")
    assert client.session.closing.endswith(" bytes queued")
    assert CLIENT_BACKLOG_BYTES_MAX < client.session.backlog_bytes < CLIENT_BACKLOG_BYTES_MAX + 20_000
    before = client.session.backlog_bytes
    client.ask("cmap_get", key="big")
    client.session.queue_became_ready()
    assert client.session.backlog_bytes == before
    frames = client.take()
    assert frames[-1] == {"event": "closing", "of": 0, "data": {"reason": client.session.closing}}
    assert len(frames) == rounds + 1


def test_what_was_written_no_longer_counts() -> None:
    client = World().client()
    client.ask("ping")
    size = client.session.backlog_bytes
    assert size > 0
    assert client.session.has_output
    (chunk,) = client.session.take_output()
    assert client.session.backlog_bytes == size == len(chunk)
    assert not client.session.has_output
    client.session.written(size - 1)
    assert client.session.backlog_bytes == 1


def test_the_daemon_can_close_with_a_reason() -> None:
    client = World().client()
    client.session.close("the daemon ends")
    assert client.take() == [{"event": "closing", "of": 0, "data": {"reason": "the daemon ends"}}]
    client.session.close("again")
    assert client.session.closing == "the daemon ends"
    assert client.take() == []


def test_a_reply_that_fits_no_frame_is_an_error() -> None:
    world = World()
    for number in range(90):
        world.cmap.set_value(f"key.{number}", b"x" * CMAP_VALUE_MAX)
    code, text = world.client().refused("cmap_list")
    assert code == "too_big"
    assert "the reply does not fit into one frame" in text


@pytest.mark.parametrize(
    ("settings", "peer", "allowed"),
    [
        (AccessSettings(), ROOT, True),
        (AccessSettings(), Credentials(1, DAEMON_UID, 5), True),
        (AccessSettings(), MALLORY, False),
        (AccessSettings(uids=(1001,)), MALLORY, True),
        (AccessSettings(gids=(2002,)), MALLORY, True),
        (AccessSettings(uids=(2002,), gids=(1001,)), MALLORY, False),
        (AccessSettings(gids=(0,)), Credentials(1, 1001, 0), True),
        (AccessSettings(), Credentials(1, 1001, 0), False),
    ],
)
def test_who_may_use_the_socket(settings: AccessSettings, peer: Credentials, allowed: bool) -> None:
    client = World(access=settings).client(peer)
    assert ("hello" in client.welcome[0]) is allowed
    assert (client.session.closing is None) is allowed
    if not allowed:
        (answer,) = client.welcome
        assert answer["error"]["code"] == "access"
        assert f"uid {peer.uid} (gid {peer.gid}) may not" in answer["error"]["message"]
        assert f"uidgid {{ uid: {peer.uid} }}" in answer["error"]["message"]


def test_a_reload_changes_access_for_new_connections() -> None:
    world = World()
    world.policy.settings = AccessSettings(uids=(1001,))
    client = world.client(MALLORY)
    world.policy.settings = AccessSettings()
    assert client.ok("ping") == {"time": 0.0}
    assert world.client(MALLORY).session.closing is not None


def test_ready_follows_try_again_once_and_only_for_those_who_got_it() -> None:
    world = World()
    world.form(1)
    waiting, other = world.client(), world.client()
    ident = waiting.joined(b"g")
    world.host.room = 0
    assert waiting.refused("cpg_multicast", group=b"g", data=b"x") == ("try_again", "the send queue is full")
    assert waiting.refused("cpg_multicast", group=b"g", data=b"x")[0] == "try_again"
    world.host.room = 10
    world.services.queue_became_ready()
    world.services.queue_became_ready()
    assert waiting.take() == [{"event": "ready", "of": 0, "data": {}}]
    assert other.take() == []
    waiting.ok("cpg_multicast", group=b"g", data=b"x")
    world.settle()
    assert [event["of"] for event in waiting.take()] == [ident]


def test_ready_follows_synchronization() -> None:
    world = World()
    world.begin_ring(1)
    client = world.client()
    assert client.refused("cpg_join", group=b"g") == ("try_again", "the ring is synchronizing")
    world.finish_ring()
    assert client.take() == [{"event": "ready", "of": 0, "data": {}}]


def test_a_session_that_is_gone_waits_for_nothing() -> None:
    world = World()
    client = world.client()
    assert client.refused("cpg_join", group=b"g")[0] == "try_again"
    client.session.closed()
    client.session.closed()
    assert not world.services.waiting
    assert client.session.closing == "the client closed the connection"


def test_subscriptions_are_bounded_and_have_ids_of_their_own() -> None:
    client = World().client()
    client.send({"id": 0, "do": "cmap_track"})
    assert client.take()[0]["error"]["code"] == "bad_request"
    for _ in range(SUBSCRIPTIONS_MAX):
        client.ok("cmap_track", prefix="abc")
    code, text = client.refused("cmap_track", prefix="abc")
    assert (code, str(SUBSCRIPTIONS_MAX) in text) == ("no_resources", True)
    assert client.refused("track")[0] == "no_resources"
    assert client.refused("cpg_join", group=b"g")[0] == "no_resources"
    client.ok("untrack", id=7)
    client.send({"id": 8, "do": "cmap_track", "with": {"prefix": "abc"}})
    assert client.take()[0]["error"]["code"] == "exist"
    client.send({"id": 7, "do": "cmap_track", "with": {"prefix": "abc"}})
    assert client.take() == [{"id": 7, "ok": {}}]


def test_a_large_message_goes_out_in_whole_frames() -> None:
    world = World()
    world.form(1)
    client = world.client()
    ident = client.joined(b"g")
    data = bytes(range(256)) * 1024
    client.ok("cpg_multicast", group=b"g", data=data, guarantee="safe")
    world.settle()
    chunks = client.session.take_output()
    decoder = FrameDecoder()
    assert decoder.feed(b"".join(chunks)) == [
        {"event": "deliver", "of": ident, "data": {"group": b"g", "nodeid": 1, "pid": 4711, "data": data}}
    ]
