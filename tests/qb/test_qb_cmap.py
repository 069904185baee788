"""libcmap's requests and its event: layouts against definitions of their own, every code, iterators and trackers."""

from typing import Any

import construct as c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc_world import World
from library_client import LibraryClient
from totemd.config.model import CmapEntry, CmapType
from totemd.errors import Code
from totemd.limits import QB_ITERATORS_MAX, QB_TRACKERS_MAX
from totemd.qb.cmap import SERVICE, encode_notification
from totemd.qb.cmap_values import decode_value, encode_value
from totemd.services.cmap import CmapChanged, TrackKind
from totemd.services.cmap.tracking import Trackers

SET, DELETE, GET, ADJUST, ITER_INIT, ITER_NEXT, ITER_FINALIZE, TRACK_ADD, TRACK_DELETE, SET_MAP = range(10)
RESPONSES = {**{function: function for function in range(9)}, SET_MAP: 10}
SIZES = {0: 24, 1: 24, 2: 40, 3: 24, 4: 32, 5: 304, 6: 24, 7: 32, 8: 32, 10: 24}
"""Of responses without a value."""
U8, U32, STRING, BINARY = CmapType.U8, CmapType.U32, CmapType.STRING, CmapType.BINARY
ALL, PREFIX = 7, 8

U8F, U32F, I32F = c.Aligned(8, c.Int8un), c.Aligned(8, c.Int32un), c.Aligned(8, c.Int32sn)
NAME = c.Struct("length" / c.Aligned(8, c.Int16un), "value" / c.Bytes(256))
HEADER = c.Struct("id" / I32F, "size" / I32F, "error" / I32F)
GOT = c.Struct("header" / HEADER, "length" / c.Int64un, "type" / U8F, "value" / c.GreedyBytes)
NEXT = c.Struct("header" / HEADER, "name" / NAME, "length" / c.Int64un, "type" / U8F, c.Terminated)
HANDLE = c.Struct("header" / HEADER, "handle" / c.Int64un, c.Terminated)
NOTIFY = c.Struct(
    "header" / HEADER,
    "handle" / c.Int64un,
    "name" / NAME,
    "event" / I32F,
    "new_type" / U8F,
    "old_type" / U8F,
    "new_length" / c.Int64un,
    "old_length" / c.Int64un,
    "new" / c.Bytes(c.this.new_length),
    "old" / c.Bytes(c.this.old_length),
    c.Terminated,
)


def name(key: bytes | str, length: int | None = None) -> bytes:
    raw = key.encode() if isinstance(key, str) else key
    size = len(raw) if length is None else length
    field: bytes = NAME.build({"length": size, "value": raw[:256].ljust(256, b"\0")})
    return field


def set_fields(key: bytes | str, kind: int, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    return name(key) + size.to_bytes(8, "little") + kind.to_bytes(8, "little") + value


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


class Client(LibraryClient):
    """A client of libcmap."""

    def set(self, key: bytes | str, kind: CmapType | int, value: bytes) -> Code:
        return self.code(SET, set_fields(key, kind if isinstance(kind, int) else kind.value, value))

    def get(self, key: bytes | str, room: int) -> Any:
        return GOT.parse(self.asked(GET, name(key) + u64(room)))

    def keys(self, prefix: bytes | str = "") -> list[str]:
        handle = self.handle(ITER_INIT, name(prefix))
        found = []
        while (item := self.next(handle)).header.error == Code.OK:
            found.append(key_of(item.name))
        assert item.header.error == Code.NO_SECTIONS
        assert self.code(ITER_FINALIZE, u64(handle)) is Code.OK
        return found

    def next(self, handle: int) -> Any:
        return NEXT.parse(self.asked(ITER_NEXT, u64(handle)))

    def track(self, key: bytes | str, kinds: int, mine: int = 77) -> int:
        return self.handle(TRACK_ADD, name(key) + kinds.to_bytes(8, "little") + u64(mine))

    def handle(self, function: int, fields: bytes) -> int:
        reply = HANDLE.parse(self.asked(function, fields))
        assert reply.header.error == Code.OK
        handle: int = reply.handle
        return handle

    def code(self, function: int, fields: bytes) -> Code:
        return Code(HEADER.parse(self.asked(function, fields)).error)

    def asked(self, function: int, fields: bytes) -> bytes:
        """The response; every one has its own id and full size, also when the request is refused."""
        message = self.ask(function, fields)
        assert message is not None
        header = HEADER.parse(message)
        assert header.id == RESPONSES[function]
        if header.error != Code.OK or function != GET:
            assert header.size == SIZES[header.id]
        return message

    def told(self) -> list[tuple[int, int, str, tuple[int, bytes], tuple[int, bytes]]]:
        """Events: the client's handle, the kind, the key, type and bytes of the new and the old value."""
        events = []
        for message in self.take():
            event = NOTIFY.parse(message)
            assert (event.header.id, event.header.error) == (9, Code.OK)
            new, old = (event.new_type, event.new), (event.old_type, event.old)
            events.append((event.handle, event.event, key_of(event.name), new, old))
        return events


def key_of(field: Any) -> str:
    assert field.value == field.value[: field.length].ljust(256, b"\0")
    key: str = field.value[: field.length].decode()
    return key


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def client(world: World) -> Client:
    return Client(world.services, SERVICE)


NUMBERS = dict(zip(list(CmapType)[:10], (1, 1, 2, 2, 4, 4, 8, 8, 4, 8), strict=True))


@given(st.sampled_from(sorted(NUMBERS, key=lambda kind: kind.value)), st.binary(min_size=8, max_size=8))
def test_numbers_survive(kind: CmapType, raw: bytes) -> None:
    data = raw[: NUMBERS[kind]]
    entry = decode_value(kind.value, data)
    if entry.value == entry.value:  # a NaN's bytes may differ
        assert encode_value(entry) == data


@given(st.text(max_size=40).map(lambda text: text.replace("\0", "")), st.booleans())
def test_strings_get_their_nul(text: str, with_nul: bool) -> None:
    data = text.encode()
    entry = decode_value(STRING.value, data + b"\0" * with_nul)
    assert entry == CmapEntry(STRING, text)
    assert encode_value(entry) == data + b"\0"


def entries() -> st.SearchStrategy[CmapEntry | None]:
    return (
        st.none()
        | st.builds(CmapEntry, st.just(STRING), st.sampled_from(("", "ä", "x" * 16384)))
        | st.builds(CmapEntry, st.just(BINARY), st.binary(max_size=9))
    )


@given(st.integers(0, 2**64 - 1), st.sampled_from(list(TrackKind)), entries(), entries())
def test_layout_of_the_event(handle: int, kind: TrackKind, new: CmapEntry | None, old: CmapEntry | None) -> None:
    message = encode_notification(handle, CmapChanged(kind, "a.key", new, old))
    event = NOTIFY.parse(message)
    assert NOTIFY.build(event) == message
    assert event.header.size == len(message) == 336 + event.new_length + event.old_length
    assert (event.handle, event.event, key_of(event.name)) == (handle, kind, "a.key")
    for side, given_type, data in ((new, event.new_type, event.new), (old, event.old_type, event.old)):
        assert given_type == (0 if side is None else side.type.value)
        assert data == (b"" if side is None else encode_value(side))


def test_a_string_has_no_nul_on_its_way_here(client: Client) -> None:
    assert client.set("a.key", STRING, b"hello") is Code.OK
    reply = client.get("a.key", 0)
    assert (reply.length, reply.type, reply.value) == (6, 11, b"")
    reply = client.get("a.key", 6)
    assert (reply.length, reply.value) == (6, b"hello\0")


@pytest.mark.parametrize(("room", "size"), [(6, 46), (7, 47), (5000, 5040)])
def test_a_reply_is_as_long_as_the_clients_buffer(client: Client, room: int, size: int) -> None:
    client.set("a.key", STRING, b"hello")
    reply = client.get("a.key", room)
    assert reply.header.size == size
    assert reply.value == b"hello\0".ljust(room, b"\0")


@pytest.mark.parametrize("room", [1, 5])
def test_a_buffer_that_is_too_small(client: Client, room: int) -> None:
    client.set("a.key", STRING, b"hello")
    assert client.get("a.key", room).header.error == Code.INVALID_PARAM


@pytest.mark.parametrize("room", [2**20, 2**31, 2**64 - 1])
def test_a_buffer_of_any_size_costs_no_memory(client: Client, room: int) -> None:
    client.set("a.key", STRING, b"hello")
    assert client.get("a.key", room).header.size <= 2**20


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"abc", Code.OK),
        (b"x" * 255, Code.OK),
        (b"ab", Code.NAME_TOO_LONG),
        (b"", Code.NAME_TOO_LONG),
        (b"x" * 256, Code.NAME_TOO_LONG),
        (b"a b", Code.NAME_TOO_LONG),
        (b"a\xe4c", Code.NAME_TOO_LONG),
        (b"abc\0def", Code.OK),
    ],
)
def test_names(client: Client, key: bytes, expected: Code) -> None:
    assert client.set(key, U8, b"\1") is expected
    after = Code.NAME_TOO_LONG if len(key) > 255 else expected if expected is Code.OK else Code.NOT_EXIST
    assert client.get(key, 1).header.error == after
    assert client.code(ADJUST, name(key) + u64(1)) is after
    assert client.code(DELETE, name(key)) is after


def test_a_names_length_is_believed_as_far_as_there_is_a_name(client: Client) -> None:
    assert client.code(DELETE, name(b"abc", 0xFFFF)) is Code.NAME_TOO_LONG
    client.set("abc", U8, b"\1")
    assert client.code(DELETE, name(b"abcdef", 3)) is Code.OK
    client.set("abc", U8, b"\1")
    assert client.code(DELETE, name(b"abc", 200)) is Code.OK


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (0, b""),
        (13, b""),
        (255, b"\1"),
        (U8.value, b""),
        (U8.value, b"\1\1"),
        (U32.value, b"\1"),
        (STRING.value, b"a\0b"),
        (STRING.value, b"a\0\0"),
        (STRING.value, b"\xff"),
        (STRING.value, b"x" * 16385),
        (BINARY.value, b"x" * 16385),
    ],
)
def test_values_that_are_none(client: Client, kind: int, value: bytes) -> None:
    assert client.set("a.key", kind, value) is Code.INVALID_PARAM
    assert client.get("a.key", 0).header.error == Code.NOT_EXIST


@pytest.mark.parametrize("length", [2, 2**31, 2**63, 2**64 - 1])
def test_a_value_that_is_longer_than_its_request(client: Client, length: int) -> None:
    assert client.code(SET, set_fields("a.key", BINARY.value, b"x", length)) is Code.INVALID_PARAM


def test_read_only_is_said_first(client: Client) -> None:
    for value in (b"\1", b"\1\1"):
        assert client.set("totem.version", U8, value) is Code.ACCESS
    assert client.code(DELETE, name("system.x")) is Code.ACCESS
    assert client.code(ADJUST, name("nodelist.x") + u64(1)) is Code.ACCESS


@given(st.integers(-(2**31), 2**31 - 1))
def test_steps_are_signed(step: int) -> None:
    client = Client(World().services, SERVICE)
    client.set("a.key", CmapType.I64, u64(5))
    assert client.code(ADJUST, name("a.key") + (step & 0xFFFFFFFF).to_bytes(8, "little")) is Code.OK
    assert int.from_bytes(client.get("a.key", 8).value, "little", signed=True) == 5 + step


@given(st.integers(0, 9), st.binary(max_size=400))
def test_any_request_has_its_response(function: int, fields: bytes) -> None:
    client = Client(World().services, SERVICE)
    client.set("a.key", U8, b"\1")
    client.asked(function, fields)
    client.front.close()


@pytest.mark.parametrize("function", range(10))
def test_short_requests(client: Client, function: int) -> None:
    assert client.code(function, b"") is Code.INVALID_PARAM
    if function not in (ITER_FINALIZE, ITER_NEXT, TRACK_DELETE, SET_MAP):
        assert client.code(function, name("abc")[:-1]) is Code.INVALID_PARAM


def test_iteration_goes_by_ascii_and_sees_what_comes(client: Client) -> None:
    for number in (1, 10, 2, 20, 3):
        client.set(f"a.{number}", U8, b"\1")
    assert client.keys("a.") == ["a.1", "a.10", "a.2", "a.20", "a.3"]
    assert client.keys("a.1") == ["a.1", "a.10"]
    assert client.keys("no such") == client.keys(b"x" * 255) == []
    handle = client.handle(ITER_INIT, name("a."))
    first = client.next(handle)
    assert (key_of(first.name), first.length, first.type) == ("a.1", 1, 2)
    client.code(DELETE, name("a.1"))
    client.code(DELETE, name("a.10"))
    client.set("a.0", U8, b"\1")
    client.set("a.15", U8, b"\1")
    assert [key_of(client.next(handle).name) for _ in range(4)] == ["a.15", "a.2", "a.20", "a.3"]
    for _ in range(2):
        assert client.next(handle).header.error == Code.NO_SECTIONS
    assert client.code(ITER_FINALIZE, u64(handle)) is Code.OK
    assert client.code(ITER_FINALIZE, u64(handle)) is Code.BAD_HANDLE
    assert client.next(handle).header.error == Code.BAD_HANDLE


def test_iterators_are_bounded_and_each_connections_own(world: World, client: Client) -> None:
    handles = [client.handle(ITER_INIT, name("")) for _ in range(QB_ITERATORS_MAX)]
    assert client.code(ITER_INIT, name("")) is Code.NO_SECTIONS
    other = Client(world.services, SERVICE)
    assert other.code(ITER_FINALIZE, u64(handles[0])) is Code.BAD_HANDLE
    other.handle(ITER_INIT, name(""))
    client.code(ITER_FINALIZE, u64(handles[0]))
    client.handle(ITER_INIT, name(""))


def test_trackers_echo_the_clients_handles(client: Client) -> None:
    one, under = client.track("a.b", ALL, 1), client.track("a.", ALL | PREFIX, 2)
    client.set("a.b", STRING, b"x")
    assert client.told() == [
        (1, TrackKind.ADD, "a.b", (11, b"x\0"), (0, b"")),
        (2, TrackKind.ADD, "a.b", (11, b"x\0"), (0, b"")),
    ]
    client.set("a.b", STRING, b"x")
    client.set("a.c", U8, b"\1")
    client.set("a.b", U8, b"\1")
    assert client.told() == [
        (2, TrackKind.ADD, "a.c", (2, b"\1"), (0, b"")),
        (1, TrackKind.MODIFY, "a.b", (2, b"\1"), (11, b"x\0")),
        (2, TrackKind.MODIFY, "a.b", (2, b"\1"), (11, b"x\0")),
    ]
    reply = HANDLE.parse(client.asked(TRACK_DELETE, u64(under)))
    assert (reply.header.error, reply.handle) == (Code.OK, 2)
    client.code(DELETE, name("a.b"))
    client.code(DELETE, name("a.c"))
    assert client.told() == [(1, TrackKind.DELETE, "a.b", (0, b""), (2, b"\1"))]
    assert client.code(TRACK_DELETE, u64(under)) is Code.BAD_HANDLE
    assert client.code(TRACK_DELETE, u64(one)) is Code.OK


@pytest.mark.parametrize("kinds", [16, 32, 15 + 16, 0xFFFFFFFF])
def test_kinds_that_are_none(client: Client, kinds: int) -> None:
    assert client.code(TRACK_ADD, name("a.b") + kinds.to_bytes(8, "little") + u64(1)) is Code.INVALID_PARAM


def test_everything_is_the_empty_prefix(client: Client) -> None:
    client.track("", ALL, 1)
    client.track("", ALL | PREFIX, 2)
    client.track("a.b", 0, 3)
    client.set("a.b", U8, b"\1")
    assert [handle for handle, *_ in client.told()] == [2]


def test_trackers_are_bounded_and_end_with_their_connection(world: World, client: Client) -> None:
    for _ in range(QB_TRACKERS_MAX):
        client.track("a.b", ALL)
    assert client.code(TRACK_ADD, name("a.b") + u64(ALL) + u64(1)) is Code.NO_RESOURCES
    client.front.close()
    other = Client(world.services, SERVICE)
    other.track("a.b", ALL)
    other.set("a.b", U8, b"\1")
    assert len(other.told()) == 1
    assert client.told() == []


@pytest.mark.parametrize("number", [0, 1])
def test_who_goes_away_does_not_look_at_the_trackers_of_others(
    client: Client, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be ten thousand of them."""
    looked: list[object] = []

    def handles_of(trackers: Trackers, listener: object) -> list[int]:
        looked.append(listener)
        return []

    monkeypatch.setattr(Trackers, "handles_of", handles_of)
    assert client.code(SET_MAP, number.to_bytes(8, "little")) is Code.OK
    client.track("a.b", ALL)
    client.front.close()
    assert not looked


def test_a_map_is_not_changed_under_iterators_and_trackers(client: Client) -> None:
    def chosen(number: int) -> Code:
        return client.code(SET_MAP, (number & 0xFFFFFFFF).to_bytes(8, "little"))

    assert [chosen(number) for number in (-1, 2)] == [Code.NOT_EXIST] * 2
    iterator = client.handle(ITER_INIT, name(""))
    assert chosen(1) is Code.BUSY
    client.code(ITER_FINALIZE, u64(iterator))
    tracker = client.track("a.b", ALL)
    assert chosen(1) is chosen(5) is Code.BUSY
    client.code(TRACK_DELETE, u64(tracker))
    assert chosen(1) is Code.OK
    assert client.set("a.b", U8, b"\1") is Code.ACCESS
    assert client.set("stats.clear.all", U8, b"\1") is Code.OK
    assert chosen(0) is Code.OK
    assert client.set("a.b", U8, b"\1") is Code.OK


KEYS = ("a.b", "a.c", "a.b.d", "b.x")
STEPS = st.lists(
    st.tuples(st.sampled_from(("set", "delete", "adjust")), st.sampled_from(KEYS), st.binary(max_size=4)), max_size=40
)


@given(STEPS)
def test_events_rebuild_the_map(steps: list[tuple[str, str, bytes]]) -> None:
    """A program that applies what its trackers tell it has what the daemon has; it is told of changes alone."""
    world = World()
    client, watcher = Client(world.services, SERVICE), Client(world.services, SERVICE)
    watcher.track("a.", ALL | PREFIX)
    mirror: dict[str, tuple[int, bytes]] = {}
    for action, key, data in steps:
        if action == "set":
            client.set(key, U32 if len(data) == 4 else BINARY, data)
        elif action == "delete":
            client.code(DELETE, name(key))
        else:
            client.code(ADJUST, name(key) + u64(len(data)))
    for _, kind, key, new, old in watcher.told():
        assert mirror.get(key, (0, b"")) == old != new
        assert (kind == TrackKind.ADD) == (key not in mirror)
        if kind == TrackKind.DELETE:
            del mirror[key]
        else:
            mirror[key] = new
    there = client.keys("a.")
    assert there == sorted(mirror)
    for key in there:
        reply = client.get(key, 4)
        assert (reply.type, reply.value[: reply.length]) == mirror[key]
