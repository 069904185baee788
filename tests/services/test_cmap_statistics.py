"""The map of statistics: values that are read when they are asked for, and trackers of what comes and goes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest

from service_cluster import FakeHost, Recorder
from totemd.config.model import CmapEntry, CmapType
from totemd.errors import Code, ServiceError
from totemd.services.cmap import CmapChanged, Statistics, TrackKind

ADD, DELETE, MODIFY = TrackKind.ADD, TrackKind.DELETE, TrackKind.MODIFY
TIMER = "statistics"


class Shelf:
    """A source whose values the test sets."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.reads = 0
        self.cleared = 0

    def names(self) -> Iterable[str]:
        return sorted(self.values)

    def find(self, key: str) -> CmapEntry | None:
        self.reads += 1
        return entry(self.values[key]) if key in self.values else None

    def clear(self) -> None:
        self.cleared += 1


def entry(value: int) -> CmapEntry:
    return CmapEntry(CmapType.U64, value)


@contextmanager
def refused(code: Code) -> Iterator[None]:
    with pytest.raises(ServiceError) as caught:
        yield
    assert caught.value.code is code


class Desk:
    def __init__(self) -> None:
        self.host = FakeHost(1)
        self.statistics = Statistics(self.host)
        self.one, self.two = Shelf(), Shelf()
        self.statistics.add_source("stats.one.", self.one, cleared_by="totem")
        self.statistics.add_source("stats.two.", self.two, cleared_by="ipc")
        self.one.values = {"stats.one.b": 1, "stats.one.a": 2}
        self.two.values = {"stats.two.x": 3}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_nothing_is_read_before_somebody_asks(desk: Desk) -> None:
    assert desk.one.reads == 0
    assert desk.statistics.get("stats.one.b") == entry(1)
    desk.one.values["stats.one.b"] = 9
    assert desk.statistics.get("stats.one.b") == entry(9)
    assert (desk.one.reads, desk.two.reads) == (2, 0)


def test_keys_come_in_order_and_by_prefix(desk: Desk) -> None:
    assert [key for key, _ in desk.statistics.walk()] == ["stats.one.a", "stats.one.b", "stats.two.x"]
    assert [key for key, _ in desk.statistics.walk("stats.one.a")] == ["stats.one.a"]
    assert list(desk.statistics.walk("totem.")) == list(desk.statistics.walk("stats.clear.")) == []
    walk = desk.statistics.walk("stats.")
    assert next(walk) == ("stats.one.a", entry(2))
    del desk.one.values["stats.one.b"]
    assert list(walk) == [("stats.two.x", entry(3))]


def test_clients_change_nothing_but_clear(desk: Desk) -> None:
    for key in ("stats.one.a", "stats.none", "totem.version", "ab"):
        with refused(Code.ACCESS):
            desk.statistics.set(key, entry(1))
        with refused(Code.ACCESS):
            desk.statistics.delete(key)
        with refused(Code.ACCESS):
            desk.statistics.adjust(key, 1)
    with refused(Code.NOT_EXIST):
        desk.statistics.get("stats.none")
    for word in ("totem", "ipc", "knet", "all"):
        desk.statistics.set(f"stats.clear.{word}", entry(1))
    assert (desk.one.cleared, desk.two.cleared) == (2, 2)
    with refused(Code.NOT_SUPPORTED):
        desk.statistics.set("stats.clear.everything", entry(1))
    with refused(Code.NOT_SUPPORTED):
        desk.statistics.delete("stats.clear.all")


@pytest.mark.parametrize("kinds", [TrackKind(0), ADD, DELETE, MODIFY, ADD | MODIFY, DELETE | MODIFY])
def test_a_prefix_is_tracked_for_both(desk: Desk, kinds: TrackKind) -> None:
    with refused(Code.NOT_SUPPORTED):
        desk.statistics.track(Recorder(), "stats.", kinds, prefix=True)


def test_a_key_is_looked_at_while_it_is_tracked(desk: Desk) -> None:
    watcher = Recorder()
    handle = desk.statistics.track(watcher, "stats.one.a", ADD | DELETE | MODIFY)
    assert desk.host.timers[TIMER][0] == 1.5
    desk.host.fire(TIMER)
    assert watcher.take() == []
    desk.one.values["stats.one.a"] = 7
    assert watcher.take() == []
    desk.host.fire(TIMER)
    assert watcher.take() == [CmapChanged(MODIFY, "stats.one.a", entry(7), entry(2))]
    del desk.one.values["stats.one.a"]
    desk.host.fire(TIMER)
    desk.one.values["stats.one.a"] = 8
    desk.host.fire(TIMER)
    assert watcher.take() == [
        CmapChanged(DELETE, "stats.one.a", None, entry(7)),
        CmapChanged(ADD, "stats.one.a", entry(8), None),
    ]
    desk.statistics.untrack(handle)
    desk.host.fire(TIMER)
    assert TIMER not in desk.host.timers
    with refused(Code.NOT_EXIST):
        desk.statistics.untrack(handle)


def test_looking_goes_on_when_more_are_tracked(desk: Desk) -> None:
    """Clients that begin to track again and again must not keep others from hearing."""
    watcher = Recorder()
    desk.statistics.track(watcher, "stats.one.a", MODIFY)
    planned = desk.host.timers[TIMER]
    desk.statistics.track(Recorder(), "stats.one.b", MODIFY)
    assert desk.host.timers[TIMER] is planned


def test_prefixes_are_told_of_what_comes_and_goes(desk: Desk) -> None:
    all_of_them, one, value = Recorder(), Recorder(), Recorder()
    desk.statistics.track(all_of_them, "stats.", ADD | DELETE, prefix=True)
    desk.statistics.track(one, "stats.one.", ADD | DELETE, prefix=True)
    desk.statistics.track(value, "stats.two.x", ADD | DELETE)
    desk.statistics.came(["stats.two.x", "stats.two.gone"])
    assert all_of_them.take() == [CmapChanged(ADD, "stats.two.x", entry(3), None)]
    desk.statistics.goes(["stats.two.x"])
    assert all_of_them.take() == [CmapChanged(DELETE, "stats.two.x", None, entry(3))]
    assert one.events == value.events == []
    desk.statistics.disconnect(all_of_them)
    desk.statistics.goes(["stats.two.x"])
    assert all_of_them.events == []


def test_the_listener_is_forgotten(desk: Desk) -> None:
    watcher = Recorder()
    for key in ("stats.one.a", "stats.one.b"):
        desk.statistics.track(watcher, key)
    desk.statistics.disconnect(watcher)
    desk.one.values = {"stats.one.a": 100, "stats.one.b": 100}
    desk.host.fire(TIMER)
    assert watcher.events == []
    assert TIMER not in desk.host.timers
