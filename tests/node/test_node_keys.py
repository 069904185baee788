"""Keys that a node publishes about itself, and those that act when a client writes them."""

from collections.abc import Callable

import pytest

from small_configuration import small_configuration
from totemd.config.model import CmapEntry, CmapType
from totemd.errors import Code, ServiceError
from totemd.ipc.ports import Credentials
from totemd.node import Node
from totemd.node.effects import ConfigureLogs, NodeEffect
from totemd.services.cmap import CmapChanged, TrackKind
from totemd.totem.effects import Log

HERE = "10.0.0.1"
U8, U16, U32, U64, STRING = CmapType.U8, CmapType.U16, CmapType.U32, CmapType.U64, CmapType.STRING


class Alone:
    """A node in a ring of its own."""

    def __init__(self) -> None:
        self.effects: list[NodeEffect] = []
        self.now = 100.0
        self.node = Node(
            small_configuration(HERE, "10.0.0.2"),
            stored_ring_seq=0,
            tracked_expected_votes=None,
            incarnation="a1",
            own_uid=900,
            random=lambda: 0.5,
            emit=self.effects.append,
            now=self.now,
        )
        self.cmap = self.node.cmap
        self.statistics = self.node.cmap.statistics
        self.node.start(self.now)
        self.run(10)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.node.next_deadline() <= end:
            self.now = max(self.now, self.node.next_deadline())
            self.node.handle_timer(self.now)
        self.now = end
        self.node.handle_timer(end)

    def write(self, key: str, kind: CmapType, value: int | str) -> None:
        """Set a key and let it act."""
        self.cmap.set(key, CmapEntry(kind, value))
        self.node.handle_timer(self.now)

    def number(self, key: str) -> object:
        return self.cmap.get(key).value

    def log(self) -> str:
        return "\n".join(effect.text for effect in self.effects if isinstance(effect, Log))


class Watcher:
    def __init__(self) -> None:
        self.changes: list[CmapChanged] = []

    def push(self, event: object) -> None:
        assert isinstance(event, CmapChanged)
        self.changes.append(event)


@pytest.fixture
def alone() -> Alone:
    return Alone()


def test_services_and_their_messages_are_published(alone: Alone) -> None:
    assert alone.cmap.get("internal_configuration.service.5.name") == CmapEntry(STRING, "corosync_votequorum")
    assert alone.cmap.get("internal_configuration.service.0.ver") == CmapEntry(U32, 0)
    assert alone.cmap.get("runtime.services.cpg.service_id") == CmapEntry(U16, 2)
    assert alone.cmap.get("runtime.services.votequorum.0.rx").type is U64
    keys = [key for key, _ in alone.cmap.iterate("runtime.services.")]
    assert len([key for key in keys if key.endswith((".rx", ".tx"))]) == 2 * (1 + 5 + 7 + 4)
    assert alone.number("runtime.services.cpg.5.tx") == alone.number("runtime.services.cpg.5.rx") == 1


@pytest.mark.parametrize("how", ["get", "iterate", "walk"])
def test_messages_are_counted_when_somebody_looks(alone: Alone, how: str) -> None:
    before = alone.number("runtime.services.cmap.0.tx")
    assert isinstance(before, int)
    alone.cmap.set("totem.config_version", CmapEntry(U64, 7))
    alone.run(1)
    stale = alone.cmap.find("runtime.services.cmap.0.tx")
    assert stale == CmapEntry(U64, before)
    expected = CmapEntry(U64, before + 1)
    if how == "get":
        found = {key: alone.cmap.get(key) for key in ("runtime.services.cmap.0.rx", "runtime.services.cmap.0.tx")}
    elif how == "iterate":
        found = dict(alone.cmap.iterate("runtime."))
    else:
        found = dict(alone.cmap.walk(""))
    assert found["runtime.services.cmap.0.rx"] == found["runtime.services.cmap.0.tx"] == expected


def test_counters_are_tracked_by_and_by(alone: Alone) -> None:
    watcher = Watcher()
    handle = alone.cmap.track(watcher, "runtime.services.cmap.0.rx")
    alone.cmap.set("totem.config_version", CmapEntry(U64, 7))
    alone.run(2)
    assert [(change.kind, change.key) for change in watcher.changes] == [
        (TrackKind.MODIFY, "runtime.services.cmap.0.rx")
    ]
    alone.cmap.untrack(handle)
    alone.cmap.set("totem.config_version", CmapEntry(U64, 8))
    alone.run(5)
    assert len(watcher.changes) == 1


def test_what_others_invent_is_not_counted(alone: Alone) -> None:
    keys = [key for key, _ in alone.cmap.iterate()]
    for function in range(1000):
        alone.node.traffic.received(2, 7 + function)
        alone.node.traffic.received(63, function)
        alone.node.traffic.sent(((9 << 16) | function).to_bytes(16, "little"))
    assert [key for key, _ in alone.cmap.iterate()] == keys


def test_rings_statistics(alone: Alone) -> None:
    keys = dict(alone.statistics.walk("stats.srp."))
    assert len(keys) == 30
    assert keys["stats.srp.operational_entered"] == CmapEntry(U64, 1)
    assert keys["stats.srp.firewall_enabled_or_nic_failure"] == CmapEntry(U8, 0)
    assert keys["stats.srp.continuous_gather"] == CmapEntry(U32, 0)
    assert alone.statistics.get("stats.pg.msg_queue_avail").value
    alone.statistics.set("stats.clear.totem", CmapEntry(U8, 1))
    assert alone.statistics.get("stats.srp.operational_entered") == CmapEntry(U64, 0)
    ring = alone.node.stats()["ring"]
    assert isinstance(ring, dict)
    assert ring["operational_entered"] == 1


def test_a_pause_is_remembered(alone: Alone) -> None:
    assert list(alone.statistics.walk("stats.schedmiss.")) == []
    watcher = Watcher()
    alone.statistics.track(watcher, "stats.schedmiss.", TrackKind.ADD | TrackKind.DELETE, prefix=True)
    alone.node.clock_ahead_s = 1000.0
    for _ in range(12):
        alone.node.next_deadline()
        alone.node.receive_datagrams([], alone.now + 500)
        alone.now += 500
    keys = dict(alone.statistics.walk("stats.schedmiss."))
    assert len(keys) == 20
    assert keys["stats.schedmiss.0.timestamp"] == CmapEntry(U64, int((alone.now + 1000) * 1000))
    assert keys["stats.schedmiss.9.delay"].type is CmapType.FLOAT
    assert [change.key for change in watcher.changes if change.kind is TrackKind.ADD][:2] == [
        "stats.schedmiss.0.delay",
        "stats.schedmiss.0.timestamp",
    ]
    alone.statistics.set("stats.clear.schedmiss", CmapEntry(U8, 1))
    assert list(alone.statistics.walk("stats.schedmiss.")) == []


@pytest.mark.parametrize("key", ["uidgid.uid.1000", "uidgid.gid.100"])
def test_a_program_grants_access(alone: Alone, key: str) -> None:
    peer = Credentials(4711, 1000, 100)
    assert alone.node.access.refusal(peer) is not None
    alone.write(key, U32, 1)
    assert alone.node.access.refusal(peer) is not None
    alone.write(key, U8, 1)
    assert alone.node.access.refusal(peer) is None
    assert alone.node.access.refusal(Credentials(4711, 1001, 101)) is not None
    alone.cmap.delete(key)
    assert alone.node.access.refusal(peer) is not None


def test_log_settings_act_at_once(alone: Alone) -> None:
    alone.write("logging.debug", STRING, "on")
    settings = [effect.settings for effect in alone.effects if isinstance(effect, ConfigureLogs)]
    assert [one.level for one in settings] == ["debug"]
    alone.write("logging.logger_subsys.CPG.debug", STRING, "off")
    alone.write("logging.debug", STRING, "off")
    last = alone.node.configuration.logging
    assert (last.level, last.subsystems) == ("info", (("CPG", "info"),))


@pytest.mark.parametrize(
    ("key", "value"), [("logging.debug", "perhaps"), ("logging.syslog_priority", "loud"), ("logging.to_logfile", "yes")]
)
def test_log_settings_that_mean_nothing_change_nothing(alone: Alone, key: str, value: str) -> None:
    before = alone.node.configuration.logging
    alone.write(key, STRING, value)
    assert alone.node.configuration.logging == before
    assert not [effect for effect in alone.effects if isinstance(effect, ConfigureLogs)]
    assert "the log is written as before" in alone.log()


def test_state_is_logged_on_request(alone: Alone) -> None:
    alone.write("runtime.blackbox.dump_state", STRING, "yes")
    assert "status: ring_state: operational" in alone.log()


def test_a_new_ring_on_request(alone: Alone) -> None:
    before = alone.statistics.get("stats.srp.gather_entered").value
    assert isinstance(before, int)
    alone.write("runtime.force_gather", STRING, "yes")
    assert alone.number("runtime.force_gather") == "no"
    assert alone.statistics.get("stats.srp.gather_entered").value == before + 1


def test_what_the_shell_counts_is_in_the_statistics(alone: Alone) -> None:
    alone.node.machine_statistics = lambda: {"send_errors": {"Operation not permitted": 3}}
    assert alone.node.stats()["send_errors"] == {"Operation not permitted": 3}


def test_keys_of_the_daemon_are_its_own(alone: Alone) -> None:
    actions: tuple[Callable[[str], object], ...] = (
        lambda key: alone.cmap.set(key, CmapEntry(U32, 1)),
        alone.cmap.delete,
        lambda key: alone.cmap.adjust(key, 1),
    )
    for key in (
        "internal_configuration.service.0.ver",
        "runtime.services.cmap.0.rx",
        "runtime.config.totem.token",
        "nodelist.local_node_pos",
    ):
        for action in actions:
            with pytest.raises(ServiceError) as caught:
                action(key)
            assert caught.value.code is Code.ACCESS
