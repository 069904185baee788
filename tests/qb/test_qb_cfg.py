"""libcfg's requests and its event: layouts against definitions of their own, every code, the vote on a shutdown."""

from struct import pack
from typing import Any

import construct as c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc_world import World
from library_client import LibraryClient
from totemd.errors import Code
from totemd.ids import NodeId
from totemd.qb.cfg import SERVICE
from totemd.services.cfg import Cfg
from totemd.wire.cfg import ReloadConfig, encode_reload_config

(
    RINGSTATUSGET,
    RINGREENABLE,
    KILLNODE,
    TRYSHUTDOWN,
    REPLYTOSHUTDOWN,
    GET_NODE_ADDRS,
    LOCAL_GET,
    RELOAD_CONFIG,
    REOPEN_LOG_FILES,
    NODESTATUSGET,
    TRACKSTART,
    TRACKSTOP,
) = range(12)
RESPONSES = {0: 0, 1: 1, 2: 8, 3: 9, 4: 13, 5: 11, 6: 12, 7: 14, 8: 15, 9: 16, 10: 2, 11: 3}
SIZES = {RINGSTATUSGET: 10272, LOCAL_GET: 32, NODESTATUSGET: 4200}
TESTSHUTDOWN = 10
REQUEST, REGARDLESS, IMMEDIATE = 0, 1, 2
YES, NO = 1, 0
TIMER = "cfg.shutdown"
ASKED, CANCELLED = Code.OK, Code.TIMEOUT

U32 = c.Aligned(8, c.Int32un)
HEADER = c.Struct("id" / U32, "size" / U32, "error" / U32)
RING_STATUS = c.Struct(
    "header" / HEADER,
    "count" / U32,
    "names" / c.Bytes(128)[16],
    "states" / c.Bytes(512)[16],
    c.Terminated,
)
ADDRESSES = c.Struct(
    "header" / HEADER, "family" / c.Int32un, "count" / c.Int32un, "addresses" / c.Bytes(16)[c.this.count], c.Terminated
)
LOCAL = c.Struct("header" / HEADER, "nodeid" / U32, c.Terminated)
NODE_STATUS = c.Struct(
    "header" / HEADER,
    "version" / c.Int32un,
    "nodeid" / c.Int32un,
    "reachable" / c.Int8un,
    "remote" / c.Int8un,
    "external" / c.Int8un,
    "onwire" / c.Int8un[3],
    "unused" / c.Padding(2),
    "links"
    / c.Struct(
        "enabled" / c.Int8un,
        "connected" / c.Int8un,
        "dynconnected" / c.Int8un,
        "unused" / c.Padding(1),
        "mtu" / c.Int32un,
        "source" / c.Bytes(256),
        "destination" / c.Bytes(256),
    )[8],
    c.Terminated,
)
SHUTDOWN_EVENT = c.Struct("header" / HEADER, "flags" / U32, c.Terminated)


class FakeNetwork:
    """Three listed nodes, of which the last is not in the ring."""

    def __init__(self, pattern: str = "192.0.2.{}") -> None:
        self._pattern = pattern
        self.nodelist: tuple[NodeId, ...] = (1, 2, 3)
        self.netmtu_bytes = 1500

    def address_of(self, nodeid: NodeId) -> str | None:
        return self._pattern.format(nodeid) if nodeid in self.nodelist else None

    def in_ring(self, nodeid: NodeId) -> bool:
        return nodeid in (1, 2)


class CfgClient(LibraryClient):
    """A client of libcfg at a world."""

    def __init__(self, world: World) -> None:
        super().__init__(world.services, SERVICE)

    def answer(self, function: int, fields: bytes = b"", layout: Any = HEADER) -> Any:
        """A response that comes at once."""
        message = self.ask(function, fields)
        assert message is not None
        header = HEADER.parse(message)
        assert header.id in (RESPONSES[function], 0)
        if header.error == Code.OK:
            assert header.id == RESPONSES[function]
            assert len(message) == SIZES.get(function, len(message))
        return layout.parse(message)

    def code(self, function: int, fields: bytes = b"") -> Code:
        return Code(self.answer(function, fields).error)

    def flags(self, function: int, flags: int) -> Code:
        return self.code(function, pack("=Ixxxx", flags))

    def asks_shutdown(self, kind: int = REQUEST) -> bool:
        """Ask for a shutdown; whether the answer is still open."""
        return self.ask(TRYSHUTDOWN, pack("=Ixxxx", kind)) is None

    def late(self) -> tuple[int, Code]:
        """The one response that came late."""
        (message,) = self.later
        self.later = []
        header = HEADER.parse(message)
        assert header.size == len(message) == 24
        return header.id, Code(header.error)

    def questions(self) -> list[tuple[int, Code]]:
        """TESTSHUTDOWN events: flags, and whether asked or cancelled."""
        events = [SHUTDOWN_EVENT.parse(message) for message in self.take()]
        assert all((event.header.id, event.header.size) == (TESTSHUTDOWN, 32) for event in events)
        return [(event.flags, Code(event.header.error)) for event in events]


@pytest.fixture
def world() -> World:
    world = World()
    world.form(1, 2)
    return world


def voter(world: World) -> CfgClient:
    client = CfgClient(world)
    assert client.code(TRACKSTART, bytes(8)) is Code.OK
    return client


def goes_down(world: World) -> bool:
    world.settle()
    return bool(world.host.shutdowns)


# --- nodes and links


def networked(world: World, network: FakeNetwork) -> CfgClient:
    world.services.cfg = Cfg(world.host, world.cmap, network)
    return CfgClient(world)


def test_links_of_this_node(world: World) -> None:
    status = networked(world, FakeNetwork()).answer(RINGSTATUSGET, layout=RING_STATUS)
    assert status.count == 1
    assert status.names[0].rstrip(b"\0") == b"0 192.0.2.1"
    assert status.states[0].rstrip(b"\0") == b"OK"
    assert b"".join([*status.names[1:], *status.states[1:]]).strip(b"\0") == b""


def test_status_of_nodes(world: World) -> None:
    client = networked(world, FakeNetwork())
    for nodeid, listed, reachable in ((1, 1, 1), (2, 1, 1), (3, 1, 0), (9, 0, 0), (0, 0, 0)):
        status = client.answer(NODESTATUSGET, pack("=IxxxxIxxxx", nodeid, 1), NODE_STATUS)
        assert (status.version, status.nodeid, status.reachable) == (1, nodeid, reachable)
        assert (status.remote, status.external, list(status.onwire)) == (0, 0, [0, 0, 0])
        link = status.links[0]
        assert (link.enabled, link.connected, link.dynconnected) == (listed, listed and reachable, 0)
        assert (link.mtu, link.source.rstrip(b"\0")) == ((1410, b"192.0.2.%d" % nodeid) if listed else (0, b""))
        for other in status.links[1:]:
            assert (other.enabled, other.mtu, other.source.strip(b"\0")) == (0, 0, b"")
    for version in (0, 2):
        response = client.ask(NODESTATUSGET, pack("=IxxxxIxxxx", 1, version))
        assert response is not None
        assert (len(response), HEADER.parse(response).error) == (32, Code.NOT_SUPPORTED)


@pytest.mark.parametrize(
    ("pattern", "family", "packed"),
    [
        ("192.0.2.{}", 2, bytes((192, 0, 2, 2, *bytes(12)))),
        ("2001:db8::{}", 10, bytes((0x20, 1, 0xD, 0xB8, *bytes(11), 2))),
    ],
)
def test_addresses_of_nodes(world: World, pattern: str, family: int, packed: bytes) -> None:
    client = networked(world, FakeNetwork(pattern))
    addresses = client.answer(GET_NODE_ADDRS, pack("=Ixxxx", 2), ADDRESSES)
    assert (addresses.family, list(addresses.addresses)) == (family, [packed])
    own = client.answer(GET_NODE_ADDRS, pack("=Ixxxx", 1), ADDRESSES)
    assert client.answer(GET_NODE_ADDRS, pack("=Ixxxx", 0), ADDRESSES) == own
    unknown = client.answer(GET_NODE_ADDRS, pack("=Ixxxx", 9), ADDRESSES)
    assert (unknown.header.error, unknown.count) == (Code.NOT_EXIST, 0)


def test_own_nodeid(world: World) -> None:
    assert CfgClient(world).answer(LOCAL_GET, layout=LOCAL).nodeid == 1


def test_links_are_not_reenabled(world: World) -> None:
    assert CfgClient(world).code(RINGREENABLE) is Code.NOT_SUPPORTED


# --- killing


def kill(nodeid: int, reason: bytes, length: int | None = None) -> bytes:
    return pack("=IxxxxH256s6x", nodeid, len(reason) if length is None else length, reason)


def test_a_member_is_killed_with_a_reason(world: World) -> None:
    client = CfgClient(world)
    assert client.code(KILLNODE, kill(1, b"for good\0")) is Code.OK
    world.settle()
    ((text, status, at_once),) = world.host.shutdowns
    assert (status, at_once) == (255, True)
    assert text.endswith(": for good")


def test_kills_that_are_refused(world: World) -> None:
    client = CfgClient(world)
    assert client.code(KILLNODE, kill(9, b"x\0")) is Code.NOT_EXIST
    assert client.code(KILLNODE, kill(1, b"x", 257)) is Code.INVALID_PARAM
    assert client.code(KILLNODE, kill(1, b"x" * 256)) is Code.NAME_TOO_LONG
    assert client.code(KILLNODE, kill(1, b"\xff" * 200)) is Code.NAME_TOO_LONG
    world.host.room = 0
    assert client.code(KILLNODE, kill(1, b"x")) is Code.TRY_AGAIN
    assert not goes_down(world)


# --- shutting down


def test_without_voters_the_node_goes_down(world: World) -> None:
    client = voter(world)  # who asks has no vote
    assert client.flags(TRYSHUTDOWN, REQUEST) is Code.OK
    assert client.questions() == []
    assert goes_down(world)


def test_immediately_means_without_asking(world: World) -> None:
    other = voter(world)
    assert CfgClient(world).flags(TRYSHUTDOWN, IMMEDIATE) is Code.OK
    assert other.questions() == []
    assert goes_down(world)


@pytest.mark.parametrize(
    ("kind", "answers", "code"),
    [
        (REQUEST, (YES, YES), Code.OK),
        (REQUEST, (YES, NO), Code.BUSY),
        (REQUEST, (NO, YES), Code.BUSY),
        (REGARDLESS, (NO, NO), Code.OK),
    ],
)
def test_voters_are_asked_and_the_answer_follows_the_last(
    world: World, kind: int, answers: tuple[int, ...], code: Code
) -> None:
    voters = [voter(world) for _ in answers]
    client = CfgClient(world)
    assert client.asks_shutdown(kind)
    for asked, answer in zip(voters, answers, strict=True):
        assert asked.questions() == [(kind, ASKED)]
        assert client.later == []
        assert asked.flags(REPLYTOSHUTDOWN, answer) is Code.OK
    assert client.late() == (RESPONSES[TRYSHUTDOWN], code)
    assert goes_down(world) == (code is Code.OK)


def test_who_does_not_answer_in_time_objects(world: World) -> None:
    asked = voter(world)
    client = CfgClient(world)
    assert client.asks_shutdown()
    world.host.fire(TIMER)
    assert client.late() == (RESPONSES[TRYSHUTDOWN], Code.BUSY)
    assert asked.questions() == [(REQUEST, ASKED), (REQUEST, CANCELLED)]
    assert asked.flags(REPLYTOSHUTDOWN, YES) is Code.ACCESS
    assert not goes_down(world)


def test_one_vote_at_a_time(world: World) -> None:
    voter(world)
    client, other = CfgClient(world), CfgClient(world)
    assert client.asks_shutdown()
    assert other.flags(TRYSHUTDOWN, REQUEST) is Code.EXIST
    assert other.flags(TRYSHUTDOWN, IMMEDIATE) is Code.OK


def test_a_voter_that_goes_agrees(world: World) -> None:
    stays, goes, closes = voter(world), voter(world), voter(world)
    client = CfgClient(world)
    assert client.asks_shutdown()
    assert goes.code(TRACKSTOP) is Code.OK
    closes.front.close()
    assert stays.flags(REPLYTOSHUTDOWN, YES) is Code.OK
    assert client.late() == (RESPONSES[TRYSHUTDOWN], Code.OK)


def test_a_voter_that_comes_is_asked(world: World) -> None:
    first = voter(world)
    client = CfgClient(world)
    assert client.asks_shutdown()
    late = voter(world)
    assert late.questions() == [(REQUEST, ASKED)]
    assert first.flags(REPLYTOSHUTDOWN, YES) is Code.OK
    assert client.later == []
    assert late.flags(REPLYTOSHUTDOWN, NO) is Code.OK
    assert client.late()[1] is Code.BUSY


def test_a_shutdown_ends_with_its_client(world: World) -> None:
    asked = voter(world)
    client = CfgClient(world)
    assert client.asks_shutdown()
    client.front.close()
    assert asked.questions() == [(REQUEST, ASKED)]
    assert client.later == []
    assert asked.flags(REPLYTOSHUTDOWN, YES) is Code.ACCESS
    assert not goes_down(world)
    assert CfgClient(world).asks_shutdown()


def test_replies_that_nobody_asked_for(world: World) -> None:
    assert voter(world).flags(REPLYTOSHUTDOWN, YES) is Code.ACCESS


def test_there_are_three_kinds_of_shutdown(world: World) -> None:
    assert CfgClient(world).flags(TRYSHUTDOWN, 3) is Code.INVALID_PARAM
    assert not goes_down(world)


def test_tracking_twice_and_stopping_twice(world: World) -> None:
    client = voter(world)
    assert client.code(TRACKSTART, bytes(8)) is Code.OK
    assert client.code(TRACKSTOP) is Code.OK
    assert client.code(TRACKSTOP) is Code.OK


# --- files


@pytest.mark.parametrize(("error", "code"), [(None, Code.OK), ("line 3 is wrong", Code.INVALID_PARAM)])
def test_the_result_of_a_reload_reaches_the_caller(world: World, error: str | None, code: Code) -> None:
    client, gone = CfgClient(world), CfgClient(world)
    assert client.ask(RELOAD_CONFIG) is None
    assert gone.ask(RELOAD_CONFIG) is None
    world.settle()
    gone.front.close()
    assert client.later == []
    world.host.reloads.pop(0)(error)
    world.host.reloads.pop(0)(error)  # one more for who asked after the first had read the file
    assert client.late() == (RESPONSES[RELOAD_CONFIG], code)
    assert world.cmap.get("config.reload_in_progress").value == 0
    assert world.cmap.get("config.totemconfig_reload_in_progress").value == 0
    assert world.cmap.get("config.reload_status").value == code


def test_reloads_of_others_answer_nobody_here(world: World) -> None:
    client = CfgClient(world)
    world.deliver(2, encode_reload_config(ReloadConfig(2, 1)))
    world.host.reloads.pop(0)(None)
    assert client.later == []


def test_a_reload_needs_room_in_the_queue(world: World) -> None:
    world.host.room = 0
    assert CfgClient(world).code(RELOAD_CONFIG) is Code.TRY_AGAIN


def test_logs_are_opened_anew(world: World) -> None:
    assert CfgClient(world).code(REOPEN_LOG_FILES) is Code.OK
    assert world.host.logs_reopened == 1


# --- bytes


@given(st.lists(st.tuples(st.integers(0, 11), st.binary(max_size=300)), max_size=20))
def test_any_bytes_get_one_answer(requests: list[tuple[int, bytes]]) -> None:
    world = World()
    world.form(1)
    client = CfgClient(world)
    for function, data in requests:
        response = client.ask(function, data)
        if function == RELOAD_CONFIG:
            assert response is None
            world.settle()
            world.host.reloads.pop(0)(None)
            assert client.late() == (RESPONSES[RELOAD_CONFIG], Code.OK)
        else:
            assert response is not None
            assert client.later == []
    client.questions()
    client.front.close()


@pytest.mark.parametrize(
    ("function", "least"),
    [(KILLNODE, 272), (TRYSHUTDOWN, 4), (REPLYTOSHUTDOWN, 4), (GET_NODE_ADDRS, 4), (NODESTATUSGET, 12)],
)
def test_a_request_without_all_its_fields_is_refused(world: World, function: int, least: int) -> None:
    assert CfgClient(world).result(function, bytes(least - 1))[1] is Code.INVALID_PARAM
