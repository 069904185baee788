"""libcpg's requests and events: layouts against definitions of their own, behaviour at a node without a ring."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import construct as c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc_world import ROOT, World
from library_client import LibraryClient
from totemd.errors import Code, ServiceError
from totemd.ids import RingId
from totemd.ipc.ports import Credentials
from totemd.limits import ITERATIONS_MAX, ZERO_COPY_BUFFERS_MAX
from totemd.qb import cpg_messages as messages
from totemd.qb.cpg import SERVICE
from totemd.services.cpg import (
    CpgChange,
    CpgDelivered,
    CpgFragment,
    CpgMember,
    CpgMembershipChanged,
    CpgPartialDelivered,
    CpgReason,
    TotemConfigurationChanged,
)
from totemd.shell import shared_buffers
from totemd.shell.shared_buffers import FileBuffers
from totemd.wire import cpg as wire

# -- layouts, written from the specification's tables ----------------------------------------------------------------

U32 = c.Aligned(8, c.Int32un)
U64 = c.Int64un
HEADER = c.Struct("id" / U32, "size" / U32, "error" / U32)
NAME = c.Struct("length" / U32, "value" / c.Bytes(128))
ADDRESS = c.Struct("nodeid" / U32, "pid" / U32, "reason" / U32)

CONFCHG = c.Struct(
    "header" / HEADER,
    "group" / NAME,
    "member_count" / U32,
    "joined_count" / U32,
    "left_count" / U32,
    "members" / ADDRESS[c.this.member_count],
    "left" / ADDRESS[c.this.left_count],
    "joined" / ADDRESS[c.this.joined_count],
    c.Terminated,
)
DELIVER = c.Struct(
    "header" / HEADER,
    "group" / NAME,
    "count" / U32,
    "nodeid" / U32,
    "pid" / U32,
    "data" / c.Bytes(c.this.count),
    c.Terminated,
)
PARTIAL_DELIVER = c.Struct(
    "header" / HEADER,
    "group" / NAME,
    "total" / U32,
    "count" / U32,
    "nodeid" / U32,
    "pid" / U32,
    "kind" / U32,
    "data" / c.Bytes(c.this.count),
    c.Terminated,
)
TOTEM_CONFCHG = c.Struct(
    "header" / HEADER,
    "rep" / U32,
    "seq" / U64,
    "count" / c.Int32un,
    "members" / c.Int32un[c.this.count],
    "unused" / c.Bytes(4),
    c.Terminated,
)
MEMBERSHIP = c.Struct("header" / HEADER, "count" / U32, "members" / ADDRESS[384], c.Terminated)
ENTRY = c.Struct("header" / HEADER, "group" / NAME, "nodeid" / c.Int32un, "pid" / c.Int32un, c.Terminated)

JOIN = c.Struct("group" / NAME, "pid" / U32, "flags" / U32)
LEAVE = c.Struct("group" / NAME, "pid" / U32)
ITERATE = c.Struct("group" / NAME, "type" / U32)
MCAST = c.Struct("guarantee" / U32, "count" / U32, "data" / c.GreedyBytes)
PARTIAL = c.Struct("guarantee" / U32, "total" / U32, "count" / U32, "kind" / U32, "data" / c.GreedyBytes)
ALLOCATE = c.Struct("size" / U64, "path" / c.Padded(128, c.GreedyBytes))


def name(group: bytes) -> dict[str, object]:
    return {"length": len(group), "value": group.ljust(128, b"\0")}


def parse(layout: Any, message: bytes) -> Any:
    """The fields; the id and the size must be right, and no padding may leak anything."""
    fields = layout.parse(message)
    assert fields.header.size == len(message)
    assert fields.header.error == Code.OK
    assert layout.build(fields) == message
    return fields


def addresses(items: Sequence[Any]) -> list[tuple[int, int, int]]:
    return [(item.nodeid, item.pid, item.reason) for item in items]


U32S = st.integers(0, 0xFFFFFFFF)
GROUPS = st.binary(max_size=128)
MEMBERS = st.lists(st.builds(CpgMember, U32S, U32S), max_size=5).map(tuple)
CHANGES = st.lists(st.builds(CpgChange, U32S, U32S, st.sampled_from(CpgReason)), max_size=5).map(tuple)


@given(GROUPS, MEMBERS, CHANGES, CHANGES)
def test_layout_of_membership_changed(
    group: bytes, members: tuple[CpgMember, ...], joined: tuple[CpgChange, ...], left: tuple[CpgChange, ...]
) -> None:
    message = messages.membership_changed(CpgMembershipChanged(group, members, joined, left))
    fields = parse(CONFCHG, message)
    assert fields.header.id == 4
    assert fields.group == name(group)
    assert addresses(fields.members) == [(m.nodeid, m.pid, 0) for m in members]
    assert addresses(fields.joined) == [(j.nodeid, j.pid, j.reason) for j in joined]
    assert addresses(fields.left) == [(gone.nodeid, gone.pid, gone.reason) for gone in left]
    assert len(message) == 184 + 24 * (len(members) + len(joined) + len(left))


@given(GROUPS, U32S, U32S, st.binary(max_size=99))
def test_layout_of_delivered(group: bytes, nodeid: int, pid: int, data: bytes) -> None:
    message = messages.delivered(CpgDelivered(group, nodeid, pid, data))
    fields = parse(DELIVER, message)
    assert (fields.header.id, fields.group, fields.nodeid, fields.pid) == (5, name(group), nodeid, pid)
    assert fields.data == data
    assert message.endswith(data)
    assert len(message) == 184 + len(data)


@given(GROUPS, U32S, U32S, st.sampled_from(CpgFragment), U32S, st.binary(max_size=99))
def test_layout_of_partial_delivered(
    group: bytes, nodeid: int, pid: int, kind: CpgFragment, total: int, data: bytes
) -> None:
    message = messages.partial_delivered(CpgPartialDelivered(group, nodeid, pid, kind, total, data))
    fields = parse(PARTIAL_DELIVER, message)
    assert (fields.header.id, fields.group, fields.nodeid, fields.pid) == (17, name(group), nodeid, pid)
    assert (fields.kind, fields.total, fields.data) == (kind, total, data)
    assert len(message) == 200 + len(data)


@given(U32S, st.integers(0, 2**64 - 1), st.lists(U32S, max_size=9))
def test_layout_of_configuration_changed(rep: int, seq: int, members: list[int]) -> None:
    message = messages.configuration_changed(TotemConfigurationChanged(RingId(rep, seq), tuple(members)))
    fields = parse(TOTEM_CONFCHG, message)
    assert (fields.header.id, fields.rep, fields.seq, list(fields.members)) == (13, rep, seq, members)
    assert len(message) == 48 + 4 * len(members)


def test_lists_never_exceed_what_libcpg_has_room_for() -> None:
    many = tuple(CpgMember(1, pid) for pid in range(500))
    gone = tuple(CpgChange(2, pid, CpgReason.NODE_DOWN) for pid in range(500))
    fields = parse(CONFCHG, messages.membership_changed(CpgMembershipChanged(b"g", many, gone, gone)))
    assert (fields.member_count, fields.joined_count, fields.left_count) == (128, 128, 128)
    assert parse(MEMBERSHIP, messages.membership_response(3, many)).count == 128
    event = TotemConfigurationChanged(RingId(1, 1), tuple(range(1, 385)))
    assert parse(TOTEM_CONFCHG, messages.configuration_changed(event)).count == 128


# -- behaviour -------------------------------------------------------------------------------------------------------


class Client(LibraryClient):
    """A connection of libcpg."""

    def __init__(self, world: World, pid: int = 100, credentials: Credentials = ROOT) -> None:
        super().__init__(world.services, SERVICE, credentials)
        self.world = world
        self.pid = pid

    def join(self, group: bytes, flags: int = 0) -> tuple[int, Code]:
        return self.result(0, JOIN.build({"group": name(group), "pid": self.pid, "flags": flags}))

    def leave(self, group: bytes) -> tuple[int, Code]:
        return self.result(1, LEAVE.build({"group": name(group), "pid": self.pid}))

    def mcast(self, data: bytes, guarantee: int = 2) -> None:
        request = MCAST.build({"guarantee": guarantee, "count": len(data), "data": data})
        assert self.ask(2, request, header=24) is None

    def partial(self, kind: int, total: int, data: bytes, guarantee: int = 2) -> tuple[int, Code]:
        fields = {"guarantee": guarantee, "total": total, "count": len(data), "kind": kind, "data": data}
        return self.result(12, PARTIAL.build(fields), header=24)

    def iterate(self, kind: int, group: bytes = b"") -> bytes:
        """The handle, as eight bytes."""
        answer = self.ask(5, ITERATE.build({"group": name(group), "type": kind}))
        assert answer is not None
        assert len(answer) == 32
        assert HEADER.parse(answer).id == 9
        return answer[24:]

    def entries(self, handle: bytes) -> list[tuple[bytes, int, int]]:
        """All that is left of the iteration."""
        found: list[tuple[bytes, int, int]] = []
        while True:
            answer = self.ask(6, handle)
            assert answer is not None
            head = HEADER.parse(answer)
            assert head.id == 10
            if head.error == Code.NO_SECTIONS:
                return found
            fields = parse(ENTRY, answer)
            found.append((fields.group.value[: fields.group.length], fields.nodeid, fields.pid))

    def events(self) -> list[tuple[int, Any]]:
        layouts = {4: CONFCHG, 5: DELIVER, 13: TOTEM_CONFCHG, 17: PARTIAL_DELIVER}
        found: list[tuple[int, Any]] = []
        for message in self.take():
            ident = HEADER.parse(message).id
            found.append((ident, parse(layouts[ident], message)))
        return found


@pytest.fixture
def world() -> World:
    world = World()
    world.form(1)
    return world


def joined(world: World, group: bytes, pid: int = 100) -> Client:
    """A client that is in, all events taken."""
    client = Client(world, pid)
    assert client.join(group) == (0, Code.OK)
    world.settle()
    client.take()
    return client


def test_the_answer_to_a_join_comes_before_it_is_delivered(world: World) -> None:
    client = Client(world)
    assert client.join(b"cib\0") == (0, Code.OK)
    assert client.take() == []
    world.settle()
    [(ident, change)] = client.events()
    assert ident == 4
    assert change.group == name(b"cib\0")
    assert addresses(change.members) == [(1, 100, 0)]
    assert addresses(change.joined) == [(1, 100, CpgReason.JOIN)]
    assert addresses(change.left) == []


def test_names_that_differ_in_a_trailing_nul_are_two_groups(world: World) -> None:
    one, two = joined(world, b"crmd\0", 1), joined(world, b"crmd", 2)
    one.mcast(b"x")
    world.settle()
    assert [ident for ident, _ in one.events()] == [5]
    assert two.events() == []


def test_wrong_joins(world: World) -> None:
    client = joined(world, b"g")
    assert client.join(b"g") == (0, Code.EXIST)
    assert client.join(b"other") == (0, Code.EXIST)
    assert Client(world, 100).join(b"g") == (0, Code.EXIST)
    assert Client(world, 101).join(b"g") == (0, Code.OK)
    too_long = {"length": 129, "value": bytes(128)}
    fresh = Client(world, 7)
    assert fresh.result(0, JOIN.build({"group": too_long, "pid": 7, "flags": 0})) == (0, Code.NAME_TOO_LONG)
    assert fresh.join(bytes(128)) == (0, Code.OK)
    world.host.syncing = True
    assert Client(world, 8).join(b"g") == (0, Code.TRY_AGAIN)


def test_a_connection_may_join_again_after_its_leave(world: World) -> None:
    client = Client(world)
    assert client.leave(b"g") == (1, Code.NOT_EXIST)
    client.join(b"g")
    assert client.leave(b"g") == (1, Code.BUSY)
    world.settle()
    client.take()
    assert client.leave(b"not g") == (1, Code.NOT_EXIST)
    assert client.leave(b"g") == (1, Code.OK)
    assert client.leave(b"g") == (1, Code.NOT_EXIST)
    assert client.join(b"h") == (0, Code.BUSY)
    assert Client(world, 100).join(b"g") == (0, Code.TRY_AGAIN)
    client.mcast(b"too late")
    world.settle()
    [(ident, change)] = client.events()
    assert ident == 4
    assert addresses(change.members) == []
    assert addresses(change.left) == [(1, 100, CpgReason.LEAVE)]
    assert client.join(b"g") == (0, Code.OK)
    world.settle()
    client.mcast(b"again")
    world.settle()
    assert [ident for ident, _ in client.events()] == [4, 5]


def test_the_end_of_a_connection_is_seen_by_the_others(world: World) -> None:
    one, two = joined(world, b"g", 1), joined(world, b"g", 2)
    one.take()
    two.front.close()
    world.settle()
    [(_, change)] = one.events()
    assert addresses(change.members) == [(1, 1, 0)]
    assert addresses(change.left) == [(1, 2, CpgReason.PROC_DOWN)]


def test_after_finalize_nothing_is_delivered_any_more(world: World) -> None:
    one, two = joined(world, b"g", 1), joined(world, b"g", 2)
    one.take()
    one.mcast(b"on its way")
    assert two.result(8) == (12, Code.OK)
    world.settle()
    assert two.take() == []
    two.front.close()
    world.settle()
    assert [ident for ident, _ in one.events()] == [5, 4]


def test_a_multicast_is_encoded_once_for_all_local_processes(world: World) -> None:
    one, two = joined(world, b"g", 1), joined(world, b"g", 2)
    one.take()
    one.mcast(b"to all")
    one.mcast(b"to all")
    world.settle()
    first, second = one.take(), two.take()
    assert first == second
    assert all(a is b for a, b in zip(first, second, strict=True))
    assert first[0] is not first[1]
    fields = parse(DELIVER, first[0])
    assert (fields.nodeid, fields.pid, fields.data) == (1, 1, b"to all")


def test_all_connections_are_told_in_the_same_bytes(world: World) -> None:
    clients = [joined(world, b"g", 1), joined(world, b"g", 2), Client(world, 3)]
    for client in clients:
        client.take()
    world.begin_ring(1, 2)
    world.finish_ring((2, wire.encode_join_list(wire.JoinList((wire.JoinListEntry(7, b"g"),)))))
    one, two, idle = (client.take() for client in clients)
    assert all(a is b for a, b in zip(one, two, strict=True))
    assert idle[0] is one[1]


def test_multicasts_that_cannot_be_sent_are_dropped(world: World) -> None:
    client = Client(world)
    client.mcast(b"not joined")
    client.join(b"g")
    client.mcast(b"as soon as the join is accepted")
    world.host.room = len(world.host.queue)
    client.mcast(b"no room")
    world.host.room = 100
    assert client.ask(2, MCAST.build({"guarantee": 2, "count": 9, "data": b"short"}), header=24) is None
    client.ask(2, b"")
    client.mcast(bytes(1048576 - 1023))
    world.settle()
    assert [fields.data for ident, fields in client.events() if ident == 5] == [b"as soon as the join is accepted"]
    reasons = [line.rpartition(" ")[2] for level, line in world.host.logs if "dropped a multicast" in line]
    assert reasons == ["NOT_EXIST", "INVALID_PARAM", "INVALID_PARAM", "TOO_BIG"]


def test_only_the_guarantee_safe_is_safe(world: World) -> None:
    client = joined(world, b"g")
    world.host.safe.clear()
    for guarantee in (0, 1, 2, 3, 4):
        client.mcast(b"x", guarantee)
    for guarantee in (2, 3):
        client.partial(1, 1, b"x", guarantee)
    assert world.host.safe == [False, False, False, True, False, False, True]


def test_fragments(world: World) -> None:
    one = Client(world, 1)
    assert one.partial(1, 4, b"ab") == (18, Code.NOT_EXIST)
    one, two = joined(world, b"g", 1), joined(world, b"g", 2)
    one.take()
    assert one.partial(1, 6, b"ab") == (18, Code.OK)
    assert one.partial(2, 6, b"cd") == (18, Code.OK)
    assert one.partial(3, 6, b"ef") == (18, Code.OK)
    assert one.partial(0, 6, b"ef") == (18, Code.INVALID_PARAM)
    assert one.partial(4, 6, b"ef") == (18, Code.INVALID_PARAM)
    assert one.partial(1, 1, b"ef") == (18, Code.INVALID_PARAM)
    world.settle()
    got = [(fields.kind, fields.total, fields.data) for _, fields in two.events()]
    assert got == [(1, 6, b"ab"), (2, 6, b"cd"), (3, 6, b"ef")]
    assert one.partial(1, 4, b"ab") == (18, Code.OK)
    two.front.close()
    world.settle()
    assert one.partial(3, 4, b"cd") == (18, Code.INTERRUPT)
    assert one.partial(1, 4, b"ab") == (18, Code.OK)
    assert one.partial(3, 4, b"cd") == (18, Code.OK)


def test_membership_of_any_group(world: World) -> None:
    for pid in (5, 3):
        joined(world, b"g", pid)
    answer = Client(world).ask(3, NAME.build(name(b"g")))
    assert answer is not None
    assert len(answer) == 9248
    fields = parse(MEMBERSHIP, answer)
    assert fields.header.id == 3
    assert addresses(fields.members[: fields.count]) == [(1, 3, 0), (1, 5, 0)]
    unknown = Client(world).ask(3, NAME.build(name(b"unknown")))
    assert unknown is not None
    assert parse(MEMBERSHIP, unknown).count == 0


def test_the_local_node_id(world: World) -> None:
    answer = Client(world).ask(4)
    assert answer is not None
    assert len(answer) == 32
    assert HEADER.parse(answer).id == 7
    assert answer[24:] == (1).to_bytes(8, "little")


def test_iterations(world: World) -> None:
    one = joined(world, b"b", 3)
    for group, pid in ((b"a", 1), (b"c", 1), (b"d", 5), (b"d", 2), (b"d", 7)):
        joined(world, group, pid)
    names, group, everything, none = one.iterate(1), one.iterate(2, b"b"), one.iterate(3), one.iterate(2, b"unknown")
    joined(world, b"b", 9)  # they are snapshots
    assert one.entries(names) == [(b"b", 0, 0), (b"d", 0, 0), (b"c", 0, 0), (b"a", 0, 0)]
    assert one.entries(group) == [(b"b", 1, 3)]
    d = [(b"d", 1, 2), (b"d", 1, 7), (b"d", 1, 5)]
    assert one.entries(everything) == [(b"b", 1, 3), *d, (b"c", 1, 1), (b"a", 1, 1)]
    assert one.entries(none) == []
    other = Client(world)
    assert other.result(6, names) == (10, Code.LIBRARY)
    assert one.result(7, names) == (11, Code.OK)
    assert one.result(7, names) == (11, Code.LIBRARY)
    assert one.result(6, names) == (10, Code.LIBRARY)
    for kind in (0, 4):
        assert one.result(5, ITERATE.build({"group": name(b""), "type": kind})) == (9, Code.INVALID_PARAM)


def test_only_an_iteration_over_one_group_has_a_name(world: World) -> None:
    garbage = {"length": 0xDEADBEEF, "value": bytes(range(128))}
    client = joined(world, b"g")
    results = [client.result(5, ITERATE.build({"group": garbage, "type": kind}))[1] for kind in (1, 2, 3)]
    assert results == [Code.OK, Code.NAME_TOO_LONG, Code.OK]


def test_iterations_are_bounded(world: World) -> None:
    client = Client(world)
    handles = [client.iterate(1) for _ in range(ITERATIONS_MAX)]
    assert client.result(5, ITERATE.build({"group": name(b""), "type": 1})) == (9, Code.NO_RESOURCES)
    client.result(7, handles[3])
    assert client.iterate(1) not in handles


def test_the_ring_is_told_to_everybody_after_the_groups(world: World) -> None:
    idle, member = Client(world, 1), joined(world, b"g", 2)
    world.begin_ring(1, 2)
    world.finish_ring((2, wire.encode_join_list(wire.JoinList((wire.JoinListEntry(7, b"g"),)))))
    assert [ident for ident, _ in idle.events()] == [13]
    (up, change), (ring, configuration) = member.events()
    assert (up, ring) == (4, 13)
    assert addresses(change.joined) == [(2, 7, CpgReason.NODE_UP)]
    assert list(configuration.members) == [1, 2]
    idle.front.close()
    world.form(1)
    assert idle.take() == []
    assert [ident for ident, _ in member.events()] == [4, 13]


def test_the_first_configuration_on_demand(world: World) -> None:
    client = Client(world)
    client.join(b"g", flags=1)
    world.settle()
    (first, _), (second, configuration) = client.events()
    assert (first, second) == (4, 13)
    assert list(configuration.members) == [1]
    assert (configuration.rep, configuration.seq) == (1, 1)


@given(st.integers(0, 12), st.binary(max_size=300))
def test_no_bytes_do_any_harm(function: int, body: bytes) -> None:
    world = World()
    world.form(1)
    client = joined(world, b"g")
    for _ in range(2):
        client.ask(function, body)
        client.ask(function, body, header=24)
        world.settle()
        client.join(b"g")
    client.front.close()
    world.settle()
    assert world.cpg.groups() == ()


@pytest.mark.parametrize("function", [f for f in range(SERVICE.functions) if f not in (2, 4, 8)])
def test_short_requests_are_refused(world: World, function: int) -> None:
    client = joined(world, b"g")
    assert client.result(function)[1] is Code.INVALID_PARAM


# -- zero copy -------------------------------------------------------------------------------------------------------


@pytest.fixture
def memory(world: World, tmp_path: Path) -> FileBuffers:
    """A directory as /dev/shm is one."""
    buffers = FileBuffers(str(tmp_path))
    world.services.shared_buffers = buffers
    return buffers


ME = Credentials(4711, os.geteuid(), os.getegid())


def buffer_file(directory: Path, data: bytes, *, guarantee: int = 2, count: int | None = None) -> tuple[Path, int]:
    path = directory / "corosync_zerocopy-Ab1xYz"
    request = MCAST.build({"guarantee": guarantee, "count": len(data) if count is None else count, "data": data})
    content = bytes(16) + bytes(24) + request
    path.write_bytes(content)
    return path, len(content)


def allocate(client: Client, path: Path | bytes, size: int) -> tuple[int, Code]:
    return client.result(9, ALLOCATE.build({"size": size, "path": os.fsencode(path)}))


def test_zero_copy(world: World, memory: FileBuffers, tmp_path: Path) -> None:
    client = Client(world, credentials=ME)
    client.join(b"g")
    world.settle()
    client.take()
    path, size = buffer_file(tmp_path, b"no copy")
    with path.open("r+b") as kept:
        assert allocate(client, path, size) == (0, Code.OK)
        assert not path.exists()
        kept.seek(8)
        address = kept.read(8)
        assert address != bytes(8)
        assert client.result(11, address) == (2, Code.OK)
        kept.seek(56)
        kept.write(b"changed")
        kept.flush()
        assert client.result(11, address) == (2, Code.OK)
        world.settle()
        assert [fields.data for _, fields in client.events()] == [b"no copy", b"changed"]
        kept.truncate(48)
        assert client.result(11, address) == (2, Code.INVALID_PARAM)
        kept.truncate(58)
        assert client.result(11, address) == (2, Code.OK)  # zeros: an empty message
        kept.truncate(0)
        assert client.result(11, address) == (2, Code.INVALID_PARAM)
    assert len(memory) == 1
    free = size.to_bytes(8, "little") + address
    assert client.result(10, free) == (0, Code.OK)
    assert client.result(10, free) == (0, Code.NOT_EXIST)
    assert client.result(11, address) == (2, Code.NOT_EXIST)
    assert len(memory) == 0


def test_zero_copy_keeps_the_rules_of_multicasts(world: World, memory: FileBuffers, tmp_path: Path) -> None:
    client = Client(world, credentials=ME)
    allocate(client, *buffer_file(tmp_path, b"data", guarantee=3))
    address = (1).to_bytes(8, "little")
    assert client.result(11, address) == (2, Code.NOT_EXIST)
    client.join(b"g")
    world.host.room = len(world.host.queue)
    assert client.result(11, address) == (2, Code.TRY_AGAIN)
    world.host.room = 10
    assert client.result(11, address) == (2, Code.OK)
    assert world.host.safe[-1]
    other = Client(world, 2, ME)
    assert other.result(11, address) == (2, Code.NOT_EXIST)
    allocate(client, *buffer_file(tmp_path, b"data", count=5))
    assert client.result(11, (2).to_bytes(8, "little")) == (2, Code.INVALID_PARAM)
    allocate(client, *buffer_file(tmp_path, b"data", count=0xFFFFFFFF))
    assert client.result(11, (3).to_bytes(8, "little")) == (2, Code.INVALID_PARAM)
    assert len(memory) == 3
    client.front.close()
    assert len(memory) == 0


def test_buffers_are_bounded(
    world: World, memory: FileBuffers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(world, credentials=ME)
    for _ in range(ZERO_COPY_BUFFERS_MAX):
        assert allocate(client, *buffer_file(tmp_path, b"x")) == (0, Code.OK)
    assert allocate(client, *buffer_file(tmp_path, b"x")) == (0, Code.NO_RESOURCES)
    assert len(memory) == ZERO_COPY_BUFFERS_MAX
    monkeypatch.setattr(shared_buffers, "OPEN_MAX", ZERO_COPY_BUFFERS_MAX)
    assert allocate(Client(world, 2, ME), *buffer_file(tmp_path, b"x")) == (0, Code.NO_RESOURCES)
    assert list(tmp_path.iterdir()) == []
    client.front.close()
    assert allocate(Client(world, 2, ME), *buffer_file(tmp_path, b"x")) == (0, Code.OK)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_hostile_paths(world: World, memory: FileBuffers, tmp_path: Path) -> None:
    before = descriptors()
    client = Client(world, credentials=ME)
    path, size = buffer_file(tmp_path, b"mine")
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(100))
    link = tmp_path / "corosync_zerocopy-link"
    link.symlink_to(secret)
    hard = tmp_path / "corosync_zerocopy-hard"
    hard.hardlink_to(secret)
    fifo = tmp_path / "corosync_zerocopy-fifo"
    os.mkfifo(fifo)
    directory = tmp_path / "corosync_zerocopy-directory"
    directory.mkdir()
    sub = os.fsencode(tmp_path) + b"/corosync_zerocopy-directory/../secret"
    kept = {secret, link, hard, fifo, directory, path}
    wrong: list[tuple[Path | bytes, int, Code]] = [
        (secret, 100, Code.INVALID_PARAM),
        (tmp_path / "corosync_zerocopy-none", 100, Code.INVALID_PARAM),
        (link, 100, Code.INVALID_PARAM),
        (hard, 100, Code.ACCESS),
        (fifo, 100, Code.ACCESS),
        (directory, 100, Code.INVALID_PARAM),
        (sub, 100, Code.INVALID_PARAM),
        (b"corosync_zerocopy-Ab1xYz", size, Code.INVALID_PARAM),
        (b"", size, Code.INVALID_PARAM),
        (b"x" * 128, size, Code.INVALID_PARAM),
        (os.fsencode(tmp_path) + b"//corosync_zerocopy-Ab1xYz", size, Code.INVALID_PARAM),
        (path, size + 1, Code.INVALID_PARAM),
        (path, 55, Code.INVALID_PARAM),
        (path, 2**64 - 1, Code.INVALID_PARAM),
        (path, shared_buffers.SIZE_MAX + 1, Code.INVALID_PARAM),
    ]
    for place, count, code in wrong:
        assert allocate(client, place, count) == (0, code), place
    stranger = Client(world, 2, Credentials(1, os.geteuid() + 1, 0))
    assert allocate(stranger, path, size) == (0, Code.ACCESS)
    assert set(tmp_path.iterdir()) == kept
    assert secret.read_bytes() == bytes(100)
    assert len(memory) == 0
    assert descriptors() == before


def test_nodes_without_files_refuse(world: World) -> None:
    assert allocate(Client(world), b"/dev/shm/corosync_zerocopy-Ab1xYz", 100) == (0, Code.NOT_SUPPORTED)
    with pytest.raises(ServiceError):
        world.services.shared_buffers.open(b"", 0, ROOT)
