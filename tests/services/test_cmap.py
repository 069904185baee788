"""The cmap service: rules for keys and values, tracking, configuration, members and config_version."""

import string
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service_cluster import FakeHost, Recorder, ServiceCluster
from totemd.config.model import CmapEntry, CmapType, CmapValue
from totemd.errors import BadPacket, Code, ServiceError
from totemd.ids import RingId
from totemd.services.cmap import Cmap, CmapChanged, TrackKind
from totemd.services.cmap import service as cmap_service
from totemd.wire import cmap as wire

U8, U32, U64, I8 = CmapType.U8, CmapType.U32, CmapType.U64, CmapType.I8
STRING = CmapType.STRING


def text(value: str) -> CmapEntry:
    return CmapEntry(STRING, value)


def a_cmap(*, syncing: bool = True) -> tuple[Cmap, FakeHost]:
    host = FakeHost(1)
    host.syncing = syncing
    return Cmap(host, lambda nodeid: f"10.0.0.{nodeid}"), host


@contextmanager
def refused(code: Code) -> Iterator[None]:
    with pytest.raises(ServiceError) as caught:
        yield
    assert caught.value.code is code


def test_values_come_back_in_the_order_of_their_keys() -> None:
    cmap, _ = a_cmap()
    for key in ("node.2.x", "node.10.x", "nodes", "a.b", "node"):
        cmap.set(key, text(key))
    assert [key for key, _ in cmap.iterate()] == ["a.b", "node", "node.10.x", "node.2.x", "nodes"]
    assert [key for key, _ in cmap.iterate("node.")] == ["node.10.x", "node.2.x"]
    assert cmap.get("a.b") == text("a.b")
    cmap.delete("node.10.x")
    assert [key for key, _ in cmap.iterate("node.")] == ["node.2.x"]
    with refused(Code.NOT_EXIST):
        cmap.get("node.10.x")
    with refused(Code.NOT_EXIST):
        cmap.delete("node.10.x")
    assert cmap.find("node.10.x") is None


@pytest.mark.parametrize("key", ["ab", "", "x" * 256, "with blank", "ünicode", "a\0b", "a.b\n"])
def test_names_that_are_refused(key: str) -> None:
    cmap, _ = a_cmap()
    with refused(Code.NAME_TOO_LONG):
        cmap.set(key, text("x"))
    with refused(Code.NOT_EXIST):
        cmap.get(key)
    with refused(Code.NOT_EXIST):
        cmap.delete(key)
    with refused(Code.NOT_EXIST):
        cmap.adjust(key, 1)
    assert list(cmap.walk(f"{key}.")) == []


def test_names_at_the_edges() -> None:
    cmap, _ = a_cmap()
    every = string.ascii_letters + string.digits + "._-/:"
    for key in ("abc", "x" * 255, every):
        cmap.set(key, text("x"))
        assert cmap.get(key) == text("x")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (U8, 256),
        (U8, -1),
        (U8, 1.0),
        (U8, True),
        (U8, "1"),
        (I8, 128),
        (I8, -129),
        (U64, 1 << 64),
        (CmapType.I64, -(1 << 63) - 1),
        (STRING, b"x"),
        (STRING, "x\0y"),
        (STRING, "\ud800"),
        (STRING, "x" * 16385),
        (CmapType.BINARY, bytes(16385)),
        (CmapType.BINARY, "x"),
        (CmapType.FLOAT, 1e39),
        (CmapType.DOUBLE, 10**400),
        (CmapType.DOUBLE, "1"),
        (CmapType.DOUBLE, True),
    ],
)
def test_values_that_do_not_fit_their_type(kind: CmapType, value: CmapValue) -> None:
    cmap, _ = a_cmap()
    with refused(Code.INVALID_PARAM):
        cmap.set("a.key", CmapEntry(kind, value))
    assert cmap.find("a.key") is None


def test_a_float_has_single_precision() -> None:
    cmap, _ = a_cmap()
    cmap.set("a.key", CmapEntry(CmapType.FLOAT, 0.1))
    assert cmap.get("a.key").value != 0.1
    assert cmap.get("a.key").value == pytest.approx(0.1)
    cmap.set("a.key", CmapEntry(CmapType.DOUBLE, 1))
    assert cmap.get("a.key") == CmapEntry(CmapType.DOUBLE, 1.0)


@pytest.mark.parametrize(
    "key",
    [
        "nodelist.node.0.nodeid",
        "system.qb_ipc_type",
        "runtime.config.totem.token",
        "runtime.services.cpg.0.rx",
        "uidgid.config.uid.0",
        "internal_configuration.service.0.name",
        "totem.cluster_name",
        "totem.transport",
        "quorum.wait_for_all",
        "config.reload_in_progress",
    ],
)
def test_clients_may_not_touch_what_is_the_daemons(key: str) -> None:
    cmap, _ = a_cmap()
    cmap.publish(key, CmapEntry(U32, 1))
    with refused(Code.ACCESS):
        cmap.set(key, text("x"))
    with refused(Code.ACCESS):
        cmap.set_value(key, 2)
    with refused(Code.ACCESS):
        cmap.adjust(key, 1)
    with refused(Code.ACCESS):
        cmap.delete(key)
    assert cmap.get(key) == CmapEntry(U32, 1)


@pytest.mark.parametrize("key", ["totem.token", "quorum.expected_votes", "logging.debug", "runtime.members.1.status"])
def test_clients_may_change_the_rest(key: str) -> None:
    cmap, _ = a_cmap()
    cmap.publish(key, CmapEntry(U32, 1))
    cmap.set(key, text("x"))
    cmap.delete(key)


@given(
    kind=st.sampled_from([U8, I8, U32, U64, CmapType.I64]),
    start=st.integers(-128, 127),
    step=st.integers(-(1 << 31), (1 << 31) - 1),
)
def test_adjusting_wraps(kind: CmapType, start: int, step: int) -> None:
    cmap, _ = a_cmap()
    if kind in (U8, U32, U64):
        start = abs(start)
    cmap.set("a.key", CmapEntry(kind, min(start, 127)))
    cmap.adjust("a.key", step)
    value = cmap.get("a.key").value
    bits = {U8: 8, I8: 8, U32: 32}.get(kind, 64)
    assert isinstance(value, int)
    assert (value - min(start, 127) - step) % (1 << bits) == 0


def test_adjusting_what_cannot_be() -> None:
    cmap, _ = a_cmap()
    cmap.set("a.key", text("1"))
    with refused(Code.INVALID_PARAM):
        cmap.adjust("a.key", 1)
    with refused(Code.INVALID_PARAM):
        cmap.adjust("a.key", 1 << 31)
    with refused(Code.NOT_EXIST):
        cmap.adjust("no.key", 1)


def test_a_value_without_a_type_takes_the_keys_type() -> None:
    cmap, _ = a_cmap()
    cmap.set("a.key", CmapEntry(U8, 1))
    cmap.set_value("a.key", 7)
    assert cmap.get("a.key") == CmapEntry(U8, 7)
    with refused(Code.INVALID_PARAM):
        cmap.set_value("a.key", "text")
    for value, kind in ((1, U32), (-1, CmapType.I32), (1 << 32, U64), (-(1 << 40), CmapType.I64), ("x", STRING)):
        cmap.set_value(f"new.{kind.name}", value)
        assert cmap.get(f"new.{kind.name}") == CmapEntry(kind, value)
    with refused(Code.INVALID_PARAM):
        cmap.set_value("new.huge", 1 << 64)


def test_tracking_tells_of_real_changes_alone() -> None:
    cmap, _ = a_cmap()
    everything, deletions, other = Recorder(), Recorder(), Recorder()
    cmap.track(everything, "a.", prefix=True)
    handle = cmap.track(deletions, "a.b", TrackKind.DELETE)
    cmap.track(other, "a.bc")
    cmap.set("a.b", text("x"))
    cmap.set("a.b", text("x"))
    cmap.set("a.b", CmapEntry(U8, 1))
    cmap.set("b.b", text("x"))
    cmap.delete("a.b")
    deleted = CmapChanged(TrackKind.DELETE, "a.b", None, CmapEntry(U8, 1))
    assert everything.take() == [
        CmapChanged(TrackKind.ADD, "a.b", text("x"), None),
        CmapChanged(TrackKind.MODIFY, "a.b", CmapEntry(U8, 1), text("x")),
        deleted,
    ]
    assert deletions.take() == [deleted]
    assert other.events == []
    cmap.untrack(handle)
    cmap.disconnect(everything)
    cmap.set("a.b", text("x"))
    cmap.delete("a.b")
    assert everything.events == deletions.events == []
    with refused(Code.NOT_EXIST):
        cmap.untrack(handle)
    with refused(Code.INVALID_PARAM):
        cmap.track(other, "a.b", TrackKind(8))
    cmap.track(other, "a.b", TrackKind(0))
    cmap.track(other, "a b")
    cmap.set("a.b", text("x"))
    assert other.events == []


def test_clients_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cmap_service, "CMAP_KEYS_MAX", 2)
    monkeypatch.setattr(cmap_service, "CMAP_BYTES_MAX", 100)
    cmap, _ = a_cmap()
    cmap.set("a.1", text("x"))
    cmap.set("a.2", text("x" * 50))
    with refused(Code.NO_MEMORY):
        cmap.set("a.3", text("x"))
    with refused(Code.NO_MEMORY):
        cmap.set("a.1", text("x" * 60))
    cmap.set("a.2", text("y"))
    cmap.set("a.1", text("x" * 60))
    cmap.publish("runtime.x", text("the daemon itself may"))


def test_a_new_configuration_replaces_the_old_one() -> None:
    cmap, _ = a_cmap()
    cmap.replace_configuration(
        {"totem.token": CmapEntry(U32, 1), "totem.version": CmapEntry(U32, 2), "other.key": text("x")}
    )
    cmap.set("totem.by_client", text("x"))
    cmap.set("client.key", text("x"))
    cmap.publish("runtime.key", text("x"))
    listener = Recorder()
    cmap.track(listener, "", prefix=True)
    cmap.replace_configuration({"totem.token": CmapEntry(U32, 5), "totem.version": CmapEntry(U32, 2), "a.b": text("y")})
    assert listener.take() == [
        CmapChanged(TrackKind.DELETE, "other.key", None, text("x")),
        CmapChanged(TrackKind.DELETE, "totem.by_client", None, text("x")),
        CmapChanged(TrackKind.ADD, "a.b", text("y"), None),
        CmapChanged(TrackKind.MODIFY, "totem.token", CmapEntry(U32, 5), CmapEntry(U32, 1)),
    ]
    before = cmap.iterate()
    with refused(Code.INVALID_PARAM):
        cmap.replace_configuration({"a.b": text("z"), "totem.token": CmapEntry(U32, -1)})
    assert cmap.iterate() == before
    assert listener.events == []
    cmap.replace_configuration({"runtime.key": text("y")})
    assert [key for key, _ in cmap.iterate()] == ["client.key", "runtime.key"]
    assert cmap.get("runtime.key") == text("x")


def test_trackers_see_the_whole_new_configuration() -> None:
    cmap, _ = a_cmap()
    seen = []

    class Looker:
        def push(self, event: object) -> None:
            seen.append((cmap.find("totem.a"), cmap.find("totem.z")))

    cmap.track(Looker(), "totem.", prefix=True)
    cmap.replace_configuration({"totem.a": text("x"), "totem.z": text("y")})
    assert seen == [(text("x"), text("y"))] * 2


class CmapCluster(ServiceCluster[Cmap]):
    """Nodes with the cmap service and a config_version each (None: none), every one alone at first."""

    def __init__(self, *versions: int | None) -> None:
        super().__init__(len(versions), lambda host: Cmap(host, lambda nodeid: f"10.0.0.{nodeid}"))
        for nodeid, version in enumerate(versions, 1):
            self.configure(nodeid, version)
            self.form({nodeid})
        self.settle()

    def configure(self, nodeid: int, version: int | None) -> None:
        entries = {} if version is None else {"totem.config_version": CmapEntry(U64, version)}
        self.nodes[nodeid].service.replace_configuration(entries)

    def gone(self) -> list[int]:
        return [node.nodeid for node in self.nodes.values() if node.host.shutdowns]

    def version(self, on: int, of: int) -> CmapValue:
        return self.nodes[on].service.get(f"runtime.members.{of}.config_version").value


@pytest.mark.parametrize(
    ("versions", "stale"),
    [((1, 1, 1), []), ((2, 1, 2), [2]), ((3, 1, 2), [2, 3]), ((None, 5, 4), [3]), ((0, 5, 5), []), ((None, None), [])],
)
def test_only_stale_nodes_leave(versions: tuple[int | None, ...], stale: list[int]) -> None:
    cluster = CmapCluster(*versions)
    assert cluster.gone() == []
    cluster.form(set(cluster.nodes))
    cluster.settle()
    assert cluster.gone() == stale
    for node in cluster.nodes.values():
        for other, version in enumerate(versions, 1):
            assert cluster.version(node.nodeid, other) == (version or 0)


def test_the_reason_names_both_versions() -> None:
    cluster = CmapCluster(41, 42)
    cluster.form({1, 2})
    cluster.settle()
    ((reason, status, at_once),) = cluster.nodes[1].host.shutdowns
    assert "41" in reason
    assert "node 2 has 42" in reason
    assert (status, at_once) == (1, False)
    assert [level for level, _ in cluster.nodes[2].host.logs] == ["warning"]


def test_a_newer_node_does_not_stop_what_is_running() -> None:
    cluster = CmapCluster(1, 1, 2)
    cluster.form({1, 2}, {3})
    cluster.settle()
    cluster.form({1, 2, 3})
    cluster.settle()
    assert cluster.gone() == []


def test_an_aborted_round_decides_nothing() -> None:
    cluster = CmapCluster(1, 2)
    cluster.form({1, 2})
    for _ in range(2):
        cluster.turn(1)
        cluster.turn(2)
    cluster.form({1}, {2})
    cluster.settle()
    assert cluster.gone() == []
    cluster.form({1, 2})
    cluster.settle()
    assert cluster.gone() == [1]


def test_a_new_version_is_told_at_once_or_as_soon_as_possible() -> None:
    cluster = CmapCluster(1, 1)
    cluster.form({1, 2})
    cluster.settle()
    cluster.configure(1, 2)
    cluster.settle()
    assert cluster.version(2, 1) == 2
    cluster.nodes[1].host.room = 0
    cluster.configure(1, 3)
    assert not cluster.nodes[1].service.retry_pending()
    cluster.nodes[1].host.room = 1
    cluster.settle()
    assert cluster.version(2, 1) == 3
    cluster.form({1, 2})
    cluster.configure(1, 4)
    cluster.settle()
    assert cluster.version(2, 1) == 4
    assert not cluster.nodes[1].host.queue


def test_synchronization_says_the_version_once() -> None:
    cmap, host = a_cmap()
    cmap.replace_configuration({"totem.config_version": CmapEntry(U64, 7)})
    cmap.sync_init((), (1,), RingId(1, 1))
    host.room = 0
    assert not cmap.sync_process()
    host.room = 5
    assert cmap.sync_process()
    assert cmap.sync_process()
    assert host.sync_queue == [wire.encode_config_version(wire.CmapReason.SYNC, 7)]


def test_messages_that_are_not_valid() -> None:
    cmap, _ = a_cmap()
    with pytest.raises(BadPacket, match="unknown function"):
        cmap.receive(1, 2, wire.encode_config_version(wire.CmapReason.SYNC, 1))
    item = wire.CmapItem(b"totem.config_version", 7, b"12345678")
    with pytest.raises(BadPacket, match="config version"):
        cmap.receive(0, 2, wire.encode_cmap_values(wire.CmapValues(0, (item,))))
    cmap.receive(0, 2, wire.encode_cmap_values(wire.CmapValues(0, (wire.CmapItem(b"other", 8, b"x"),))))
    assert cmap.iterate() == []


def test_members_come_and_go() -> None:
    cluster = CmapCluster(1, 1)
    cluster.form({1, 2})
    cluster.settle()
    cmap = cluster.nodes[1].service
    assert cmap.get("runtime.members.2.ip") == text("r(0) ip(10.0.0.2) ")
    assert cmap.get("runtime.members.2.join_count") == CmapEntry(U32, 1)
    assert cmap.get("runtime.members.2.status") == text("joined")
    assert cmap.is_joined(2)
    listener = Recorder()
    cmap.track(listener, "runtime.members.", prefix=True)
    cluster.form({1}, {2})
    cluster.settle()
    assert not cmap.is_joined(2)
    cluster.form({1, 2})
    cluster.settle()
    assert [
        (event.key, event.new and event.new.value) for event in listener.take() if isinstance(event, CmapChanged)
    ] == [
        ("runtime.members.2.status", "left"),
        ("runtime.members.2.join_count", 2),
        ("runtime.members.2.status", "joined"),
    ]
    assert cmap.get("runtime.members.1.join_count") == CmapEntry(U32, 1)
    assert not cmap.is_joined(3)
