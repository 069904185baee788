"""Quiet multicasts: no word when they are queued, and patience while there is no room."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ipc_world import Client, World
from totemd.ipc.frames import Frame
from totemd.limits import CPG_DATA_MAX


def member() -> tuple[World, Client]:
    """A client in the group "g" of a formed ring."""
    world = World()
    world.form(1)
    client = world.client()
    client.joined(b"g")
    return world, client


def quiet(data: object, ident: object = 0, /, **more: object) -> Frame:
    return {"id": ident, "do": "cpg_multicast", "with": {"group": b"g", "data": data, "quiet": True, **more}}


def delivered(frames: list[Frame]) -> list[Any]:
    return [frame["data"]["data"] for frame in frames if frame.get("event") == "deliver"]


def test_what_is_queued_has_no_reply() -> None:
    world, client = member()
    client.send(*(quiet(b"%d" % number, guarantee="agreed") for number in range(5)), quiet(b"5"))
    assert client.take() == []
    world.settle()
    frames = client.take()
    assert delivered(frames) == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert len(frames) == 6


def test_safe_ones_are_safe() -> None:
    world, client = member()
    world.host.safe.clear()
    client.send(quiet(b"1", guarantee="agreed"), quiet(b"2", guarantee="safe"), quiet(b"3", guarantee="agreed"))
    assert world.host.safe == [False, True, False]


def test_what_is_wrong_is_replied_and_stops_nothing() -> None:
    world, client = member()
    client.send(
        quiet(b"1", guarantee="agreed"),
        quiet(7, 2),
        quiet(bytes(CPG_DATA_MAX + 1), 3, guarantee="agreed"),
        {"id": 4, "do": "cpg_multicast", "with": {"group": b"other", "data": b"x", "quiet": True}},
        quiet(b"5", guarantee="perhaps"),
        quiet(b"6", 6, unknown=1),
        quiet(b"last", guarantee="agreed"),
    )
    errors = [(frame["id"], frame["error"]["code"]) for frame in client.take()]
    assert errors == [(2, "bad_request"), (3, "too_big"), (4, "not_exist"), (0, "bad_request"), (6, "bad_request")]
    world.settle()
    assert delivered(client.take()) == [b"1", b"last"]


def test_without_room_they_wait_and_all_behind_them() -> None:
    world, client = member()
    world.host.room = 2
    client.send(*(quiet(b"%d" % number, guarantee="agreed") for number in range(5)), {"id": 9, "do": "ping"})
    assert client.session.blocked
    assert not client.session.has_pending_input
    assert client.take() == []
    seen: list[Frame] = []
    for _ in range(3):
        world.settle()
        while world.services.resumable:
            world.services.resumable.popitem()[0].resume()
        seen += client.take()
    assert not client.session.blocked
    world.settle()
    seen += client.take()
    assert delivered(seen) == [b"0", b"1", b"2", b"3", b"4"]
    assert [frame["id"] for frame in seen if "ok" in frame] == [9]
    assert not [frame for frame in seen if frame.get("event") == "ready"], "nobody was refused"


def test_while_the_ring_synchronizes_they_wait() -> None:
    world, client = member()
    world.begin_ring(1, 2)
    client.send(quiet(b"1", guarantee="agreed"))
    assert client.session.blocked
    world.finish_ring()
    assert list(world.services.resumable) == [client.session]
    client.session.resume()
    world.settle()
    assert delivered(client.take()) == [b"1"]


def test_who_was_refused_is_told_when_to_ask_again() -> None:
    world, client = member()
    world.host.room = 0
    client.send({"id": 1, "do": "cpg_multicast", "with": {"group": b"g", "data": b"x"}}, quiet(b"1"))
    assert [frame["error"]["code"] for frame in client.take()] == ["try_again"]
    world.services.queue_became_ready()
    assert [frame["event"] for frame in client.take()] == ["ready"]
    assert client.session.blocked


def test_who_goes_while_blocked_leaves_nothing() -> None:
    world, client = member()
    world.host.room = 0
    client.send(quiet(b"1"))
    world.services.queue_became_ready()
    client.session.closed()
    assert not world.services.resumable
    assert not world.services.waiting
    assert not client.session.blocked


def test_bytes_that_are_no_frame_end_the_connection_when_their_turn_comes() -> None:
    world, client = member()
    world.host.room = 0
    client.send(quiet(b"1"))
    client.session.receive(b"\0\0\0\0")
    assert client.session.closing is None
    world.host.room = 100
    client.session.resume()
    client.send_bytes(b"")
    assert client.session.closing is not None
    world.settle()


frames = st.lists(
    st.tuples(
        st.sampled_from((b"g", b"g", b"g", b"other")),
        st.sampled_from((b"", b"data", b"more data", 7)),
        st.sampled_from(("agreed", "agreed", "agreed", "safe", None, "perhaps")),
        st.integers(0, 3),
    ),
    max_size=20,
)


@settings(max_examples=100)
@given(sent=frames)
def test_quiet_ones_do_what_others_do(sent: list[tuple[bytes, object, str | None, int]]) -> None:
    outcomes = []
    for silent in (False, True):
        world, client = member()
        world.host.safe.clear()
        requests = []
        for ident, (group, data, guarantee, extra) in enumerate(sent):
            given = {"group": group, "data": data, "guarantee": guarantee, **({"quiet": True} if silent else {})}
            requests.append({"id": ident, "do": "cpg_multicast" if extra else "ping", "with": given if extra else {}})
        client.send(*requests)
        replies = [frame for frame in client.take() if "error" in frame or "time" in frame["ok"]]
        outcomes.append((replies, list(world.host.queue), list(world.host.safe)))
    assert outcomes[1] == outcomes[0]
