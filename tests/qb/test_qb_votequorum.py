"""libvotequorum's requests and events: layouts against definitions of their own, every code, the order of events."""

from dataclasses import replace
from struct import pack
from typing import Any

import construct as c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc_world import World
from library_client import LibraryClient
from totemd.config.model import QuorumSettings
from totemd.errors import Code, ServiceError
from totemd.ids import RingId
from totemd.qb.votequorum import SERVICE
from totemd.services.votequorum.electorate import VoterState
from totemd.services.votequorum.events import (
    ExpectedVotesChanged,
    InfoFlag,
    NodelistChanged,
    NodeStanding,
    QuorumChanged,
)
from totemd.wire.votequorum import NODE_QUORATE, NodeInfo, QdeviceReg, encode_nodeinfo, encode_qdevice_reg

(
    GETINFO,
    SETEXPECTED,
    SETVOTES,
    TRACKSTART,
    TRACKSTOP,
    REGISTER,
    UNREGISTER,
    UPDATE,
    POLL,
    MASTER_WINS,
) = range(10)
STATUS, INFO, QUORUM, EXPECTED, NODELIST = 0, 1, 3, 4, 5
CURRENT, CHANGES, CHANGES_ONLY = 1, 2, 4
DEVICE_TIMER = "votequorum.device"
MEMBER = VoterState.MEMBER

U32 = c.Aligned(8, c.Int32un)
HEADER = c.Struct("id" / U32, "size" / U32, "error" / U32)
RING = c.Struct("rep" / U32, "seq" / c.Int64un)

INFO_LAYOUT = c.Struct(
    "header" / HEADER,
    "nodeid" / c.Int32un,
    "state" / c.Int32un,
    "votes" / c.Int32un,
    "expected" / c.Int32un,
    "highest_expected" / c.Int32un,
    "total" / c.Int32un,
    "quorum" / c.Int32un,
    "flags" / c.Int32un,
    "device_votes" / c.Int32un,
    "device_name" / c.Padded(260, c.GreedyBytes),
    c.Terminated,
)
QUORUM_LAYOUT = c.Struct(
    "header" / HEADER,
    "quorate" / U32,
    "context" / c.Int64un,
    "count" / U32,
    "nodes" / c.Struct("nodeid" / c.Int32un, "state" / c.Int32un)[c.this.count],
    c.Terminated,
)
EXPECTED_LAYOUT = c.Struct("header" / HEADER, "context" / c.Int64un, "expected" / U32, c.Terminated)
NODELIST_LAYOUT = c.Struct(
    "header" / HEADER,
    "context" / c.Int64un,
    "ring" / RING,
    "count" / U32,
    "nodes" / c.Int32un[c.this.count],
    c.Terminated,
)
EVENTS = {QUORUM: QUORUM_LAYOUT, EXPECTED: EXPECTED_LAYOUT, NODELIST: NODELIST_LAYOUT}

U32S = st.integers(0, 2**32 - 1)


def event(message: bytes) -> tuple[Any, ...]:
    """An event's fields; its header must be right, and no padding may leak anything."""
    header = HEADER.parse(message)
    layout = EVENTS[header.id]
    fields = layout.parse(message)
    assert (header.size, header.error) == (len(message), Code.OK)
    assert layout.build(fields) == message
    match header.id:
        case 3:
            return ("quorum", fields.context, fields.quorate, [(node.nodeid, node.state) for node in fields.nodes])
        case 4:
            return ("expected", fields.context, fields.expected)
        case _:
            return ("nodelist", fields.context, (fields.ring.rep, fields.ring.seq), list(fields.nodes))


class VotingClient(LibraryClient):
    """A client of libvotequorum at a world."""

    def __init__(self, world: World) -> None:
        super().__init__(world.services, SERVICE)
        self.world = world

    def events(self) -> list[tuple[Any, ...]]:
        return [event(message) for message in self.take()]

    def status(self, function: int, fields: bytes = b"") -> Code:
        ident, code = self.result(function, fields)
        assert ident == STATUS
        return code

    def info(self, nodeid: int = 0) -> Any:
        response = self.ask(GETINFO, pack("=Ixxxx", nodeid))
        assert response is not None
        assert len(response) == 320
        return INFO_LAYOUT.parse(response)

    def track(self, flags: int, context: int = 7) -> Code:
        return self.status(TRACKSTART, pack("=QIxxxx", context, flags))

    def register(self, device: bytes = b"net") -> bytes | None:
        return self.ask(REGISTER, device.ljust(256, b"\0"))

    def registered(self, device: bytes = b"net") -> Code:
        """Register, and what came of it."""
        assert self.register(device) is None
        self.world.settle()
        (answer,) = self.later
        self.later = []
        assert (HEADER.parse(answer).id, len(answer)) == (STATUS, 24)
        return Code(HEADER.parse(answer).error)

    def poll(self, ring: RingId, device: bytes = b"net", cast_vote: int = 1) -> Code:
        return self.status(POLL, pack("=255sxI4xI4xQ", device, cast_vote, ring.rep, ring.seq))

    def master_wins(self, allow: int, device: bytes = b"net") -> Code:
        return self.status(MASTER_WINS, pack("=255sxIxxxx", device, allow))


@pytest.fixture
def world() -> World:
    world = World()
    world.form(1)
    world.finish_ring()
    return world


def two_nodes(world: World) -> RingId:
    """Node 2 is here, too, and the cluster quorate."""
    ring = world.begin_ring(1, 2)
    world.finish_ring((2, encode_nodeinfo(NodeInfo(2, 1, 3, 0))))
    return ring


# --- votes


def test_info_has_every_field(world: World) -> None:
    two_nodes(world)
    client = VotingClient(world)
    info = client.info()
    assert (info.header.id, info.header.error) == (INFO, Code.OK)
    assert (info.nodeid, info.state, info.votes, info.expected) == (1, MEMBER, 1, 3)
    assert (info.highest_expected, info.total, info.quorum, info.flags) == (3, 2, 2, InfoFlag.QUORATE)
    assert (info.device_votes, info.device_name.rstrip(b"\0")) == (0, b"")
    assert client.info(2).nodeid == 2
    assert client.info(1) == info
    for unknown in (3, 0xFFFFFFFF):
        assert client.info(unknown).header.error == Code.NOT_EXIST


def test_info_tells_of_options_and_of_a_device_by_flags(world: World) -> None:
    client = VotingClient(world)
    votes = world.votequorum
    assert votes is not None
    assert client.registered() is Code.OK
    world.settle()
    assert client.info().flags == InfoFlag.QDEVICE_REGISTERED
    assert client.poll(world.form(1)) is Code.OK
    assert client.master_wins(1) is Code.OK
    world.settle()
    info = client.info()
    device = InfoFlag.QDEVICE_REGISTERED | InfoFlag.QDEVICE_ALIVE | InfoFlag.QDEVICE_CAST_VOTE
    assert info.flags == device | InfoFlag.QDEVICE_MASTER_WINS | InfoFlag.QUORATE
    assert info.device_name.rstrip(b"\0") == b"net"
    votes.reconfigure(QuorumSettings(expected_votes=3, two_node=True, wait_for_all=True))
    assert client.info().flags & (InfoFlag.TWO_NODE | InfoFlag.WAIT_FOR_ALL)


def test_votes_that_exceed_their_field_are_the_most_it_can_say(world: World) -> None:
    world.begin_ring(1, 2, 3)
    world.finish_ring(
        (2, encode_nodeinfo(NodeInfo(2, 2**32 - 1, 3, 0))), (3, encode_nodeinfo(NodeInfo(3, 2**32 - 1, 3, 0)))
    )
    assert VotingClient(world).info().total == 2**32 - 1


def test_expected_votes_are_set_for_all(world: World) -> None:
    two_nodes(world)
    client = VotingClient(world)
    client.track(CHANGES_ONLY)
    assert client.status(SETEXPECTED, pack("=Ixxxx", 1)) is Code.INVALID_PARAM
    assert client.status(SETEXPECTED, pack("=Ixxxx", 0)) is Code.INVALID_PARAM
    assert client.status(SETEXPECTED, pack("=Ixxxx", 4)) is Code.INVALID_PARAM  # quorate now, and would not be
    assert client.status(SETEXPECTED, pack("=Ixxxx", 2)) is Code.OK
    assert client.events() == []
    world.settle()
    assert client.events() == [("expected", 7, 2)]
    assert client.info().expected == 2
    world.host.room = 0
    assert client.status(SETEXPECTED, pack("=Ixxxx", 3)) is Code.NO_RESOURCES


def test_votes_are_set_for_known_nodes(world: World) -> None:
    two_nodes(world)
    client = VotingClient(world)
    assert client.status(SETVOTES, pack("=II", 1, 9)) is Code.NAME_NOT_FOUND
    assert client.status(SETVOTES, pack("=II", 2**32 - 1, 2)) is Code.INVALID_PARAM
    assert client.status(SETVOTES, pack("=II", 2, 2)) is Code.OK
    world.settle()
    assert (client.info(2).votes, client.info().total) == (2, 3)
    world.host.room = 0
    assert client.status(SETVOTES, pack("=II", 1, 2)) is Code.NO_RESOURCES


# --- tracking


def test_a_tracker_gets_the_present_state_before_its_answer_and_changes_after(world: World) -> None:
    client = VotingClient(world)
    assert client.track(CURRENT, 5) is Code.OK
    present = [("nodelist", 5, (1, 1), [1]), ("quorum", 5, 0, [(1, MEMBER)])]
    assert client.events() == present
    two_nodes(world)
    assert client.events() == []
    assert client.status(TRACKSTOP) is Code.NOT_EXIST
    assert client.track(CHANGES_ONLY, 6) is Code.OK
    assert client.events() == []
    world.form(1)
    assert client.events() == [("nodelist", 6, (1, 3), [1]), ("quorum", 6, 0, [(1, MEMBER), (2, VoterState.DEAD)])]
    assert client.status(TRACKSTOP) is Code.OK
    assert client.status(TRACKSTOP) is Code.NOT_EXIST
    assert client.track(0) is Code.OK
    assert client.events() == []
    assert client.status(TRACKSTOP) is Code.NOT_EXIST


@pytest.mark.parametrize("flags", [0, CURRENT, CHANGES, CHANGES_ONLY])
def test_who_tracks_and_asks_again_gets_the_state_but_keeps_its_context(world: World, flags: int) -> None:
    client = VotingClient(world)
    assert client.track(CHANGES, 1) is Code.OK
    client.take()
    assert client.track(flags, 2) is Code.EXIST
    assert [event[1] for event in client.events()] == ([2, 2] if flags & (CURRENT | CHANGES) else [])
    world.form(1)
    assert [event[:2] for event in client.events()] == [("nodelist", 1), ("quorum", 1)]


def test_nodes_are_listed_in_order_whenever_they_came(world: World) -> None:
    client = VotingClient(world)
    client.track(CHANGES)
    for members in ((1, 9), (1, 9, 4)):
        world.begin_ring(*members)
        world.finish_ring(*((nodeid, encode_nodeinfo(NodeInfo(nodeid, 1, 3, 0))) for nodeid in members if nodeid != 1))
    events = client.events()
    assert [event[3] for event in events if event[0] == "quorum"][-1] == [(1, 1), (4, 1), (9, 1)]
    assert [event[3] for event in events if event[0] == "nodelist"][-1] == [1, 4, 9]


def test_a_verdict_that_flips_is_told_at_once(world: World) -> None:
    two_nodes(world)
    client = VotingClient(world)
    client.track(CHANGES_ONLY)
    world.deliver(2, encode_nodeinfo(NodeInfo(2, 0, 3, NODE_QUORATE)))
    assert client.events() == [("quorum", 7, 0, [(1, MEMBER), (2, MEMBER)])]


def test_nobody_is_told_after_the_end(world: World) -> None:
    client = VotingClient(world)
    client.track(CHANGES)
    client.take()
    client.front.close()
    world.form(1)
    assert client.take() == []


def test_without_a_provider_there_is_nothing_to_connect_to() -> None:
    with pytest.raises(ServiceError):
        LibraryClient(World(provider=False).services, SERVICE)


# --- the quorum device


def test_a_device_registers_polls_and_goes(world: World) -> None:
    ring = world.form(1)
    client = VotingClient(world)
    assert client.registered() is Code.OK
    world.settle()
    again = client.register()
    assert again is not None
    assert HEADER.parse(again).error == Code.OK
    assert client.status(REGISTER, b"other".ljust(256, b"\0")) is Code.EXIST
    assert client.track(CURRENT) is Code.OK
    assert client.events()[1] == ("quorum", 7, 0, [(0, 0), (1, MEMBER)])
    assert client.poll(RingId(1, 99)) is Code.MESSAGE_ERROR
    assert client.poll(RingId(1, 99), b"other") is Code.MESSAGE_ERROR
    assert client.poll(ring, b"other") is Code.INVALID_PARAM
    assert client.poll(ring, cast_vote=0) is Code.OK
    assert client.info().flags & InfoFlag.QDEVICE_ALIVE
    assert not client.info().flags & InfoFlag.QDEVICE_CAST_VOTE
    assert client.poll(ring, cast_vote=7) is Code.OK
    assert client.info().flags & InfoFlag.QDEVICE_CAST_VOTE
    assert client.master_wins(1, b"other") is Code.INVALID_PARAM
    assert client.status(UPDATE, pack("=255s255sxx", b"other", b"new")) is Code.INVALID_PARAM
    assert client.status(UPDATE, pack("=255s255sxx", b"net", b"new")) is Code.OK
    world.settle()
    assert client.info().device_name.rstrip(b"\0") == b"new"
    assert client.status(UNREGISTER, b"net".ljust(256, b"\0")) is Code.INVALID_PARAM
    assert client.status(UNREGISTER, b"new".ljust(256, b"\0")) is Code.OK
    world.settle()
    assert (client.info().flags, client.info().device_name.rstrip(b"\0")) == (0, b"")


def test_calls_without_a_registered_device(world: World) -> None:
    client = VotingClient(world)
    name = b"net".ljust(256, b"\0")
    assert client.status(UNREGISTER, name) is Code.NOT_EXIST
    assert client.status(UPDATE, pack("=255s255sxx", b"net", b"new")) is Code.NOT_EXIST
    assert client.poll(RingId(5, 5)) is Code.NOT_EXIST
    assert client.master_wins(1) is Code.NOT_EXIST
    assert client.status(REGISTER, bytes(256)) is Code.INVALID_PARAM


def test_a_device_that_the_options_forbid(world: World) -> None:
    votes = world.votequorum
    assert votes is not None
    votes.reconfigure(QuorumSettings(expected_votes=3, two_node=True, wait_for_all=True))
    client = VotingClient(world)
    assert client.status(REGISTER, b"net".ljust(256, b"\0")) is Code.ACCESS
    assert client.poll(RingId(1, 1)) is Code.ACCESS
    assert client.master_wins(1) is Code.ACCESS


def test_one_registration_at_a_time(world: World) -> None:
    client, other = VotingClient(world), VotingClient(world)
    assert client.register() is None
    assert other.status(REGISTER, b"net".ljust(256, b"\0")) is Code.TRY_AGAIN
    world.settle()
    assert len(client.later) == 1


def test_another_node_has_a_device_of_another_name(world: World) -> None:
    two_nodes(world)
    world.deliver(2, encode_qdevice_reg(QdeviceReg(1, b"theirs")))
    assert VotingClient(world).registered(b"ours") is Code.EXIST


def test_a_registration_completes_when_its_client_has_gone(world: World) -> None:
    client = VotingClient(world)
    assert client.register() is None
    client.front.close()
    world.settle()
    assert VotingClient(world).info().flags & InfoFlag.QDEVICE_REGISTERED


def test_the_vote_of_a_device_whose_client_has_gone_runs_out(world: World) -> None:
    votes = world.votequorum
    assert votes is not None
    votes.reconfigure(replace(votes.electorate.settings, device_model="net", device_votes=2, expected_votes=3))
    client = VotingClient(world)
    assert client.registered() is Code.OK
    world.settle()
    assert client.poll(votes.device.ring) is Code.OK
    world.settle()
    watcher = VotingClient(world)
    watcher.track(CHANGES)
    assert watcher.events()[1][2] == 1
    client.front.close()
    world.settle()
    assert watcher.events() == []
    world.host.fire(DEVICE_TIMER)
    world.settle()
    assert [event[2] for event in watcher.events() if event[0] == "quorum"] == [0]
    assert watcher.info().flags == InfoFlag.QDEVICE_REGISTERED


# --- bytes


@given(
    st.lists(st.builds(NodeStanding, U32S, st.sampled_from(VoterState), U32S), max_size=9).map(tuple),
    st.builds(RingId, U32S, st.integers(0, 2**64 - 1)),
    st.integers(0, 2**64 - 1),
    st.booleans(),
)
def test_events_of_any_content(nodes: tuple[NodeStanding, ...], ring: RingId, context: int, quorate: bool) -> None:
    client = VotingClient(World())
    client.track(CHANGES_ONLY, context)
    ids = tuple(node.nodeid for node in nodes)
    front = client.front
    for said in (QuorumChanged(quorate, nodes), NodelistChanged(ring, ids), ExpectedVotesChanged(ring.seq)):
        front.push(said)  # type: ignore[attr-defined]  # a front is a listener where its service has events
    assert client.events() == [
        ("quorum", context, quorate, [(node.nodeid, node.state if node.nodeid else 0) for node in nodes]),
        ("nodelist", context, (ring.rep, ring.seq), list(ids)),
        ("expected", context, min(ring.seq, 2**32 - 1)),
    ]


@given(st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=600)), max_size=20))
def test_any_bytes_get_one_answer(requests: list[tuple[int, bytes]]) -> None:
    world = World()
    world.form(1)
    client = VotingClient(world)
    for function, data in requests:
        response = client.ask(function, data)
        assert response is not None or function == REGISTER
        client.later.clear()
        world.settle()
        assert response is not None or len(client.later) == 1
    for message in client.take():
        event(message)
    client.front.close()


@pytest.mark.parametrize(
    ("function", "least"),
    [
        (GETINFO, 4),
        (SETEXPECTED, 4),
        (SETVOTES, 8),
        (TRACKSTART, 12),
        (REGISTER, 255),
        (UNREGISTER, 255),
        (UPDATE, 510),
        (POLL, 280),
        (MASTER_WINS, 260),
    ],
)
def test_a_request_without_all_its_fields_is_refused(world: World, function: int, least: int) -> None:
    client = VotingClient(world)
    assert client.result(function, bytes(least - 1))[1] is Code.INVALID_PARAM


def test_a_name_without_an_end_is_refused(world: World) -> None:
    client = VotingClient(world)
    assert client.status(REGISTER, b"x" * 256) is Code.INVALID_PARAM
    assert client.status(POLL, b"x" * 280) is Code.INVALID_PARAM
