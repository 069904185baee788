"""The cfg service: killing, shutting down by vote, reloading."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service_cluster import FakeHost, Recorder
from totemd.config.model import CmapEntry, CmapType
from totemd.errors import BadPacket, Code, ServiceError
from totemd.services.cfg import Cfg, ShutdownKind, ShutdownTested
from totemd.services.cmap import Cmap, CmapChanged
from totemd.wire import cfg as wire
from totemd.wire.service import decode_service_header

REQUEST, REGARDLESS, IMMEDIATE = ShutdownKind.REQUEST, ShutdownKind.REGARDLESS, ShutdownKind.IMMEDIATE
TIMER = "cfg.shutdown"


class World:
    """Node 1 with its services in a ring with node 2."""

    def __init__(self) -> None:
        self.host = FakeHost(1)
        self.host.syncing = False
        self.cmap = Cmap(self.host, lambda nodeid: None)
        for nodeid in (1, 2):
            self.cmap.publish(f"runtime.members.{nodeid}.status", CmapEntry(CmapType.STRING, "joined"))
        self.cfg = Cfg(self.host, self.cmap)
        self.codes: list[Code] = []
        self.reloads: list[str | None] = []

    def deliver(self) -> None:
        """What node 1 has queued comes back to it."""
        while self.host.queue:
            message = self.host.queue.pop(0)
            self.cfg.receive(decode_service_header(message).function, 1, message)

    def voters(self, count: int) -> list[Recorder]:
        voters = [Recorder() for _ in range(count)]
        for voter in voters:
            self.cfg.track_start(voter)
        return voters

    def try_shutdown(self, kind: ShutdownKind, caller: Recorder | None = None) -> Recorder:
        caller = caller or Recorder()
        self.cfg.try_shutdown(kind, caller, self.codes.append)
        return caller

    def went_down(self) -> bool:
        self.deliver()
        return bool(self.host.shutdowns)


@pytest.fixture
def world() -> World:
    return World()


@contextmanager
def refused(code: Code) -> Iterator[None]:
    with pytest.raises(ServiceError) as caught:
        yield
    assert caught.value.code is code


def test_a_node_that_is_killed_ends_at_once_and_says_who_and_why(world: World) -> None:
    world.cfg.receive(1, 2, wire.encode_kill_node(wire.KillNode(1, "split\x1b[2J brain")))
    assert world.host.shutdowns == [("killed by node 2: split?[2J brain", 255, True)]
    assert world.host.logs == [("crit", "killed by node 2: split?[2J brain")]


def test_a_kill_of_another_node_is_noted(world: World) -> None:
    world.cfg.receive(1, 2, wire.encode_kill_node(wire.KillNode(3, "why not")))
    assert world.host.shutdowns == []
    assert world.host.logs == [("notice", "node 2 kills node 3: why not")]


def test_killing(world: World) -> None:
    with refused(Code.NOT_EXIST):
        world.cfg.kill_node(3, "x")
    with refused(Code.NAME_TOO_LONG):
        world.cfg.kill_node(2, "ü" * 128)
    world.cfg.kill_node(2, "x" * 255)
    assert wire.decode_kill_node(world.host.queue[0]) == wire.KillNode(2, "x" * 255)
    assert world.host.safe == [True]


def test_nothing_is_taken_while_synchronizing_or_without_room(world: World) -> None:
    for attribute, value in (("syncing", True), ("room", 0)):
        before = getattr(world.host, attribute)
        setattr(world.host, attribute, value)
        with refused(Code.TRY_AGAIN):
            world.cfg.kill_node(2, "x")
        with refused(Code.TRY_AGAIN):
            world.cfg.reload(world.reloads.append)
        with refused(Code.TRY_AGAIN):
            world.try_shutdown(IMMEDIATE)
        setattr(world.host, attribute, before)
    world.deliver()
    assert (world.codes, world.reloads, world.host.reloads) == ([], [], [])


def test_an_immediate_shutdown_asks_nobody(world: World) -> None:
    (voter,) = world.voters(1)
    world.try_shutdown(IMMEDIATE)
    assert world.codes == [Code.OK]
    assert world.host.shutdowns == []
    assert world.host.safe == [True]
    assert world.went_down()
    assert world.host.shutdowns == [("shut down by the administrator", 0, False)]
    assert voter.events == []


def test_the_shutdown_of_another_node_is_noted(world: World) -> None:
    world.cfg.receive(2, 2, wire.encode_shutdown())
    assert world.host.shutdowns == []
    assert world.host.logs == [("notice", "node 2 was shut down by its administrator")]


def test_without_voters_a_shutdown_passes(world: World) -> None:
    caller = Recorder()
    world.cfg.track_start(caller)
    world.try_shutdown(REQUEST, caller)
    assert world.codes == [Code.OK]
    assert caller.events == []
    assert world.host.timers == {}
    assert world.went_down()


def test_all_must_agree(world: World) -> None:
    one, two = world.voters(2)
    world.try_shutdown(REQUEST)
    assert one.take() == two.take() == [ShutdownTested(REQUEST, cancelled=False)]
    world.cfg.reply_to_shutdown(one, agreed=True)
    world.cfg.reply_to_shutdown(one, agreed=True)
    assert world.codes == []
    world.cfg.reply_to_shutdown(two, agreed=True)
    assert world.codes == [Code.OK]
    assert world.host.timers == {}
    assert world.went_down()
    with refused(Code.ACCESS):
        world.cfg.reply_to_shutdown(two, agreed=True)


def test_one_objection_is_enough_once_all_have_answered(world: World) -> None:
    one, two = world.voters(2)
    world.try_shutdown(REQUEST)
    world.cfg.reply_to_shutdown(one, agreed=False)
    world.cfg.reply_to_shutdown(one, agreed=True)  # too late to change its mind
    assert world.codes == []
    world.cfg.reply_to_shutdown(two, agreed=True)
    assert world.codes == [Code.BUSY]
    assert not world.went_down()
    world.try_shutdown(REQUEST)  # and it can be tried again
    assert one.events[-1] == ShutdownTested(REQUEST, cancelled=False)


def test_regardless_waits_for_the_answers_but_not_for_their_content(world: World) -> None:
    one, two = world.voters(2)
    world.try_shutdown(REGARDLESS)
    world.cfg.reply_to_shutdown(one, agreed=False)
    assert world.codes == []
    world.cfg.reply_to_shutdown(two, agreed=False)
    assert world.codes == [Code.OK]
    assert world.went_down()


@pytest.mark.parametrize(("kind", "code"), [(REQUEST, Code.BUSY), (REGARDLESS, Code.OK)])
def test_who_does_not_answer_in_time_objects(world: World, kind: ShutdownKind, code: Code) -> None:
    one, two = world.voters(2)
    world.try_shutdown(kind)
    world.cfg.reply_to_shutdown(one, agreed=True)
    assert world.host.timers[TIMER][0] == 5.0
    world.host.fire(TIMER)
    assert world.codes == [code]
    for voter in (one, two):
        assert voter.events == [ShutdownTested(kind, cancelled=False), ShutdownTested(kind, cancelled=True)]
    assert world.went_down() is (code is Code.OK)


def test_the_time_to_answer_is_a_key(world: World) -> None:
    world.voters(1)
    world.cmap.set("cfg.shutdown_timeout", CmapEntry(CmapType.U32, 250))
    world.try_shutdown(REQUEST)
    assert world.host.timers[TIMER][0] == 0.25


def test_who_goes_away_agrees(world: World) -> None:
    one, two, three = world.voters(3)
    world.try_shutdown(REQUEST)
    world.cfg.disconnect(one)
    world.cfg.track_stop(two)
    assert world.codes == []
    world.cfg.reply_to_shutdown(three, agreed=True)
    assert world.codes == [Code.OK]


def test_an_objection_outlives_its_voter(world: World) -> None:
    one, two = world.voters(2)
    world.try_shutdown(REQUEST)
    world.cfg.reply_to_shutdown(one, agreed=False)
    world.cfg.disconnect(one)
    world.cfg.reply_to_shutdown(two, agreed=True)
    assert world.codes == [Code.BUSY]


def test_who_comes_during_a_vote_is_asked_too(world: World) -> None:
    world.voters(1)
    world.try_shutdown(REQUEST)
    late = Recorder()
    world.cfg.track_start(late)
    world.cfg.track_start(late)
    assert late.events == [ShutdownTested(REQUEST, cancelled=False)]


def test_one_vote_at_a_time_and_its_caller_can_give_up(world: World) -> None:
    (voter,) = world.voters(1)
    caller = world.try_shutdown(REQUEST)
    with refused(Code.EXIST):
        world.try_shutdown(REGARDLESS)
    world.cfg.track_start(caller)
    with refused(Code.ACCESS):
        world.cfg.reply_to_shutdown(caller, agreed=True)
    world.cfg.disconnect(caller)
    assert voter.events[-1] == ShutdownTested(REQUEST, cancelled=True, caller_gone=True)
    assert world.host.timers == {}
    with refused(Code.ACCESS):
        world.cfg.reply_to_shutdown(voter, agreed=True)
    assert (world.codes, world.went_down()) == ([], False)


def test_a_shutdown_that_was_agreed_on_is_not_lost(world: World) -> None:
    world.host.room = 0
    world.try_shutdown(REQUEST)
    assert world.codes == [Code.OK]
    assert not world.cfg.retry_pending()
    assert not world.went_down()
    world.host.room = 1
    world.host.syncing = True
    assert not world.cfg.retry_pending()
    world.host.syncing = False
    assert world.cfg.retry_pending()
    assert world.went_down()
    assert world.cfg.retry_pending()
    assert len(world.host.shutdowns) == 1


def test_every_node_reloads_and_the_asker_hears_how_it_went_here(world: World) -> None:
    watcher = Recorder()
    world.cmap.track(watcher, "config.", prefix=True)
    world.cfg.reload(world.reloads.append)
    assert world.host.reloads == []
    assert world.host.safe == [True]
    world.deliver()
    (done,) = world.host.reloads
    assert world.reloads == []
    done(None)
    assert world.reloads == [None]
    assert [(e.key, e.new and e.new.value) for e in watcher.take() if isinstance(e, CmapChanged)] == [
        ("config.totemconfig_reload_in_progress", 1),
        ("config.reload_in_progress", 1),
        ("config.reload_status", 1),
        ("config.totemconfig_reload_in_progress", 0),
        ("config.reload_in_progress", 0),
    ]
    world.cfg.receive(3, 2, wire.encode_reload_config(wire.ReloadConfig(1, 1)))  # node 2 asks, whatever it writes
    assert len(world.host.reloads) == 2
    world.host.reloads[1](None)
    assert world.reloads == [None]


def test_a_reload_that_fails_leaves_no_flag_behind(world: World) -> None:
    world.cfg.reload(world.reloads.append)
    world.deliver()
    world.host.reloads.pop()("line 3: " + "ü" * 5000)
    assert world.reloads == ["line 3: " + "ü" * 5000]
    for key in ("config.totemconfig_reload_in_progress", "config.reload_in_progress"):
        assert world.cmap.get(key) == CmapEntry(CmapType.U8, 0)
    assert world.cmap.get("config.reload_status") == CmapEntry(CmapType.I32, 7)
    assert str(world.cmap.get("config.reload_error_message").value).startswith("line 3: ü")
    world.cfg.reload(world.reloads.append)
    world.deliver()
    world.host.reloads.pop()(None)
    assert world.cmap.get("config.reload_status") == CmapEntry(CmapType.I32, 1)
    assert world.cmap.find("config.reload_error_message") is None


def test_reloads_during_a_reload_become_one_more(world: World) -> None:
    order: list[int] = []
    for index in range(3):
        world.cfg.reload(lambda error, index=index: order.append(index))  # type: ignore[misc]
    world.deliver()
    assert len(world.host.reloads) == 1
    world.host.reloads[0](None)
    assert order == [0]
    assert len(world.host.reloads) == 2
    world.host.reloads[1](None)
    assert order == [0, 1, 2]
    assert len(world.host.reloads) == 2


def test_messages_that_nobody_acts_on(world: World) -> None:
    world.cfg.receive(0, 2, wire.encode_ring_reenable(wire.RingReenable(2, 0)))
    world.cfg.receive(4, 2, wire.encode_crypto_reconfig(wire.CryptoReconfig(1)))
    assert (world.host.queue, world.host.shutdowns, world.host.reloads) == ([], [], [])
    with pytest.raises(BadPacket, match="unknown function"):
        world.cfg.receive(5, 2, bytes(16))
    with pytest.raises(BadPacket, match="truncated"):
        world.cfg.receive(1, 2, bytes(40))
