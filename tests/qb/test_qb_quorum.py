"""libquorum's requests and events: layouts against definitions of their own, behaviour at a node without a ring."""

from typing import Any

import construct as c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc_world import World
from library_client import LibraryClient
from totemd.errors import Code
from totemd.ids import RingId
from totemd.qb import quorum
from totemd.qb.quorum import SERVICE
from totemd.services.quorum import MembershipChanged, QuorumNotification, QuorumView

U32 = c.Aligned(8, c.Int32un)
HEADER = c.Struct("id" / U32, "size" / U32, "error" / U32)
RING = c.Struct("rep" / U32, "seq" / c.Int64un)
TRAILING = c.Bytes(4)

NOTIFICATION = c.Struct(
    "header" / HEADER,
    "quorate" / U32,
    "seq" / c.Int64un,
    "count" / c.Int32un,
    "view" / c.Int32un[c.this.count],
    "unused" / TRAILING,
    c.Terminated,
)
QUORUM = c.Struct(
    "header" / HEADER,
    "quorate" / U32,
    "ring" / RING,
    "count" / c.Int32un,
    "view" / c.Int32un[c.this.count],
    "unused" / TRAILING,
    c.Terminated,
)
NODELIST = c.Struct(
    "header" / HEADER,
    "ring" / RING,
    "member_count" / U32,
    "joined_count" / U32,
    "left_count" / c.Int32un,
    "members" / c.Int32un[c.this.member_count],
    "joined" / c.Int32un[c.this.joined_count],
    "left" / c.Int32un[c.this.left_count],
    "unused" / TRAILING,
    c.Terminated,
)
LAYOUTS = {3: NOTIFICATION, 6: QUORUM, 7: NODELIST}

CURRENT, CHANGES, CHANGES_ONLY = 1, 2, 4

U32S = st.integers(0, 0xFFFFFFFF)
RINGS = st.builds(RingId, U32S, st.integers(0, 2**64 - 1))
NODES = st.lists(U32S, max_size=9).map(tuple)


def parse(message: bytes) -> tuple[int, Any]:
    head = HEADER.parse(message)
    assert head.size == len(message)
    assert head.error == Code.OK
    fields = LAYOUTS[head.id].parse(message)
    assert LAYOUTS[head.id].build(fields) == message
    return head.id, fields


def u32(value: int) -> bytes:
    return value.to_bytes(8, "little")


@given(st.booleans(), RINGS, NODES)
def test_layouts_of_verdicts(quorate: bool, ring: RingId, members: tuple[int, ...]) -> None:
    event = QuorumNotification(quorate, ring, members)
    ident, old = parse(quorum.notification(event))
    assert (ident, old.quorate, old.seq, tuple(old.view)) == (3, quorate, ring.seq, members)
    assert old.header.size == 48 + 4 * len(members)
    ident, new = parse(quorum.quorum(event))
    assert (ident, new.quorate, tuple(new.view)) == (6, quorate, members)
    assert (new.ring.rep, new.ring.seq) == (ring.rep, ring.seq)
    assert new.header.size == 56 + 4 * len(members)


@given(RINGS, NODES, NODES, NODES)
def test_layout_of_the_nodelist(
    ring: RingId, members: tuple[int, ...], joined: tuple[int, ...], left: tuple[int, ...]
) -> None:
    ident, fields = parse(quorum.nodelist(MembershipChanged(ring, members, joined, left)))
    assert (ident, fields.ring.rep, fields.ring.seq) == (7, ring.rep, ring.seq)
    assert (tuple(fields.members), tuple(fields.joined), tuple(fields.left)) == (members, joined, left)
    assert fields.header.size == 64 + 4 * (len(members) + len(joined) + len(left))


class Client(LibraryClient):
    """A connection of libquorum that has said its model."""

    def __init__(self, world: World, model: int) -> None:
        super().__init__(world.services, SERVICE)
        self.asked = self.result(3) if model == 0 else self.result(4, u32(model))

    def track(self, flags: int) -> tuple[int, Code]:
        return self.result(1, u32(flags))

    def events(self) -> list[tuple[int, Any]]:
        return [parse(message) for message in self.take()]


def world_of_one(*, provider: bool = True) -> World:
    world = World(provider=provider)
    world.form(1)
    return world


@pytest.mark.parametrize("provider", [False, True])
def test_the_type_says_whether_anybody_counts_votes(provider: bool) -> None:
    world = world_of_one(provider=provider)
    client = Client(world, 0)
    for function, fields, ident in ((3, b"", 4), (4, u32(0), 5), (4, u32(1), 5)):
        answer = client.ask(function, fields)
        assert answer is not None
        assert HEADER.parse(answer) == {"id": ident, "size": 32, "error": Code.OK}
        assert answer[24:] == u32(provider)


@pytest.mark.parametrize("model", [2, 0xFFFFFFFF])
def test_there_are_two_models(model: int) -> None:
    assert Client(world_of_one(), model).asked == (5, Code.INVALID_PARAM)


def test_quorate_follows_the_provider() -> None:
    world = world_of_one()
    client = Client(world, 0)
    for quorate in (True, False):
        world.quorum.provider_changed(QuorumView(quorate, RingId(1, 1), (1,)))
        answer = client.ask(0)
        assert answer is not None
        assert HEADER.parse(answer) == {"id": 0, "size": 32, "error": Code.OK}
        assert answer[24:] == u32(quorate)
    without = Client(world_of_one(provider=False), 0).ask(0)
    assert without is not None
    assert without[24:] == u32(1)


@pytest.mark.parametrize(
    ("flags", "at_once", "later"),
    [
        (0, False, False),
        (CURRENT, True, False),
        (CHANGES, True, True),
        (CURRENT | CHANGES, True, True),
        (CHANGES_ONLY, False, True),
        (8, False, False),
    ],
)
@pytest.mark.parametrize(("model", "idents"), [(0, [3]), (1, [7, 6])])
def test_tracking(model: int, idents: list[int], flags: int, at_once: bool, later: bool) -> None:
    world = world_of_one()
    client = Client(world, model)
    assert client.track(flags) == (1, Code.OK)
    assert [ident for ident, _ in client.events()] == (idents if at_once else [])
    world.form(1, 2)
    assert [ident for ident, _ in client.events()] == (idents if later else [])


def test_events_stand_before_the_answer_that_asked_for_them() -> None:
    world = world_of_one()
    order: list[str] = []

    class Ordered(Client):
        def send_event(self, message: bytes) -> None:
            order.append("event")

    client = Ordered(world, 1)
    client.track(CURRENT)
    order.append("answer")
    assert order == ["event", "event", "answer"]


def test_the_present_state_has_nobody_joined_or_left() -> None:
    world = world_of_one()
    ring = world.form(1, 2)
    client = Client(world, 1)
    client.track(CURRENT)
    (_, nodelist), (_, verdict) = client.events()
    assert (list(nodelist.members), list(nodelist.joined), list(nodelist.left)) == ([1, 2], [], [])
    assert (nodelist.ring.rep, nodelist.ring.seq) == (ring.rep, ring.seq)
    assert list(verdict.view) == [1, 2]


def test_who_joins_and_who_leaves() -> None:
    world = world_of_one()
    client = Client(world, 1)
    client.track(CHANGES_ONLY)
    world.form(1, 2, 3)
    world.form(1, 3)
    lists = [
        (list(fields.members), list(fields.joined), list(fields.left))
        for ident, fields in client.events()
        if ident == 7
    ]
    assert lists == [([1, 2, 3], [2, 3], []), ([1, 3], [], [2])]


def test_tracking_twice_repeats_the_state_and_is_refused() -> None:
    world = world_of_one()
    client = Client(world, 0)
    client.track(CHANGES)
    client.take()
    assert client.track(CHANGES) == (1, Code.EXIST)
    assert [ident for ident, _ in client.events()] == [3]
    world.form(1, 2)
    assert [ident for ident, _ in client.events()] == [3]


def test_stopping_is_always_fine() -> None:
    world = world_of_one()
    client = Client(world, 1)
    assert client.result(2) == (2, Code.OK)
    client.track(CHANGES_ONLY)
    assert client.result(2) == (2, Code.OK)
    assert client.result(2) == (2, Code.OK)
    world.form(1, 2)
    assert client.take() == []
    assert client.track(CHANGES_ONLY) == (1, Code.OK)


def test_a_closed_connection_hears_nothing() -> None:
    world = world_of_one()
    client = Client(world, 1)
    client.track(CHANGES)
    client.take()
    client.front.close()
    world.form(1, 2)
    assert client.take() == []


@given(st.integers(0, 4), st.binary(max_size=40))
def test_no_bytes_do_any_harm(function: int, body: bytes) -> None:
    world = world_of_one()
    client = Client(world, 0)
    client.ask(function, body)
    client.ask(function, body)
    world.form(1, 2)
    client.front.close()


@pytest.mark.parametrize(("function", "ident"), [(1, 1), (4, 5)])
def test_short_requests_are_refused(function: int, ident: int) -> None:
    assert Client(world_of_one(), 0).result(function) == (ident, Code.INVALID_PARAM)
