"""stats.ipcs: a block of keys for each connection, and who is told of it."""

from collections.abc import Sequence

import pytest

from ipc_world import World
from service_cluster import Recorder
from totemd.config.model import CmapEntry, CmapType
from totemd.errors import Code, ServiceError
from totemd.ipc.ports import Credentials
from totemd.qb import cmap, quorum
from totemd.qb.session import QbSession
from totemd.qb.sessions import QbSessions
from totemd.services.cmap import CmapChanged, TrackKind

U64 = CmapType.U64
BOTH = TrackKind.ADD | TrackKind.DELETE
BLOCK = (
    *("queueing", "queued", "invalid_request", "overload", "sent", "procname", "requests", "responses", "dispatched"),
    *("send_retries", "recv_retries", "flow_control", "flow_control_count"),
)


class Served:
    """A node that serves."""

    synchronizing = False
    served = True
    queue_critical = False
    queue_ready = True


class Deaf:
    """A client that takes everything, or nothing."""

    message_max = 1 << 20

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes

    def put_response(self, message: bytes) -> bool:
        return self.takes

    def put_event(self, message: bytes) -> bool:
        return self.takes

    def put_events(self, messages: Sequence[bytes]) -> int:
        return len(messages) if self.takes else 0

    def set_flow(self, word: int) -> None:
        """Nothing."""


class Desk:
    def __init__(self) -> None:
        world = World()
        self.sessions = QbSessions(world.services, Served())
        self.statistics = world.cmap.statistics

    def open(self, pid: int = 4711, name: str = "client", *, takes: bool = True) -> QbSession:
        return self.sessions.open(cmap.SERVICE, Credentials(pid, 0, 0), Deaf(takes=takes), process_name=name)

    def read(self, key: str) -> CmapEntry:
        return self.statistics.get(f"stats.ipcs.{key}")

    def blocks(self) -> list[str]:
        keys = [key for key, _ in self.statistics.walk("stats.ipcs.service")]
        return sorted({key.rpartition(".")[0].removeprefix("stats.ipcs.") for key in keys})


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_connections_are_counted(desk: Desk) -> None:
    assert desk.read("global.active") == desk.read("global.closed") == CmapEntry(U64, 0)
    first, _ = desk.open(), desk.open()
    desk.sessions.close(first)
    desk.sessions.close(first)
    assert desk.read("global.active") == desk.read("global.closed") == CmapEntry(U64, 1)
    desk.statistics.set("stats.clear.ipc", CmapEntry(U64, 1))
    assert [desk.read(f"global.{word}").value for word in ("active", "closed")] == [1, 0]


def test_a_connections_block(desk: Desk) -> None:
    session = desk.open(4711, "a name")
    (block,) = desk.blocks()
    assert block == "service0.4711.0x1"
    assert desk.read(f"{block}.procname") == CmapEntry(CmapType.STRING, "a name")
    session.receive(b"\xff" * 16)
    ask = (77).to_bytes(8, "little") + (16).to_bytes(8, "little")
    session.receive(ask)
    expected = {"requests": 2, "responses": 2, "invalid_request": 2}
    assert {name: desk.read(f"{block}.{name}").value for name in expected} == expected
    desk.statistics.set("stats.clear.ipc", CmapEntry(U64, 1))
    assert desk.read(f"{block}.requests") == CmapEntry(U64, 0)


def test_keys_come_in_order(desk: Desk) -> None:
    for pid in (7, 70, 8, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7):
        desk.open(pid)
    keys = [key for key, _ in desk.statistics.walk()]
    assert keys == sorted(keys)
    assert len(keys) == 18 * len(BLOCK) + 2


def test_trackers_are_told_of_whole_blocks(desk: Desk) -> None:
    watcher = Recorder()
    desk.statistics.track(watcher, "stats.ipcs.", BOTH, prefix=True)
    session = desk.open(5)

    def told(kind: TrackKind) -> list[str]:
        changes = [event for event in watcher.take() if isinstance(event, CmapChanged)]
        assert {change.kind for change in changes} == {kind}
        assert all((change.old is None) is (kind is TrackKind.ADD) for change in changes)
        return [change.key for change in changes]

    names = [f"stats.ipcs.service0.5.0x1.{field}" for field in BLOCK]
    assert told(TrackKind.ADD) == names
    desk.sessions.close(session)
    assert told(TrackKind.DELETE) == names


def test_a_watcher_that_goes_is_not_told_of_itself(desk: Desk) -> None:
    session = desk.open(takes=False)
    for message in (choose_statistics(), track_clients()):
        session.receive(message)
    desk.open()
    queued = session.queued_events
    assert queued == len(BLOCK)
    desk.sessions.close(session)
    assert session.queued_events <= queued


def choose_statistics() -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in (9, 24, 1))


def track_clients() -> bytes:
    prefix = b"stats.ipcs."
    numbers = b"".join(number.to_bytes(8, "little") for number in (7, 296, len(prefix)))
    return numbers + prefix.ljust(256, b"\0") + (15).to_bytes(8, "little") + (1).to_bytes(8, "little")


@pytest.mark.parametrize(
    "key", ["", "global", "global.x", "service0.1.0x1", "service0.4711.0x1.x", "service0.4711.0x1."]
)
def test_keys_that_are_none(desk: Desk, key: str) -> None:
    desk.open()
    with pytest.raises(ServiceError) as caught:
        desk.read(key)
    assert caught.value.code is Code.NOT_EXIST


def test_services_have_their_numbers(desk: Desk) -> None:
    desk.sessions.open(quorum.SERVICE, Credentials(9, 0, 0), Deaf())
    assert desk.blocks() == ["service3.9.0x1"]
