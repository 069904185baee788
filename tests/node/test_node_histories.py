"""Histories of whole clusters: random faults, then peace. Safety is checked all the way, liveness in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest

from node_histories import play, play_hostile
from node_world import Heard, World, check_histories
from totemd.errors import ServiceError
from totemd.totem.api import ConfigurationChanged, ConfigurationKind
from totemd.totem.core import State
from totemd.wire.packets import PacketType

MakeWorld: TypeAlias = Callable[..., World]


@pytest.mark.parametrize("seed", [200, 205, 208, 211])
def test_faults_cost_neither_order_nor_synchrony_nor_life(seed: int) -> None:
    play(seed)


@pytest.mark.parametrize(
    ("seed", "fault"),
    [
        (5, "a message was sent half on one ring and half on the next"),
        (10, "the unfinished messages of nodes that left were forgotten before their last packets were delivered"),
    ],
)
def test_histories_that_once_went_wrong(seed: int, fault: str) -> None:
    play(seed)


@pytest.mark.parametrize("seed", [0, 7, 14, 15, 27])
def test_forged_packets_of_members_break_nothing_for_good(seed: int) -> None:
    """The seeds once led to rings stuck in recovery (7, 15), in synchronization (0), in two (27), and to a node that a
    forged commit token told that it had lost itself (14)."""
    play_hostile(seed)


def multicast(world: World, nodeid: int, data: bytes, *, safe: bool = False) -> None:
    life = world.lives[nodeid]
    life.node.now = world.now
    number = len(life.accepted)
    life.node.cpg.multicast(life, b"%d %d %d " % (life.number, number, safe) + data, safe=safe)
    life.accepted.append((life.number, number))
    life.wake()


def make_deaf(world: World, nodes: set[int]) -> None:
    """These nodes hear tokens and joins, but no messages, as long as they are in the set."""
    transmit = world.transmit

    def filtered(source: int, target: int, data: bytes) -> None:
        if target not in nodes or data[3] != PacketType.MCAST:
            transmit(source, target, data)

    world.transmit = filtered  # type: ignore[method-assign]


def test_a_message_that_a_newcomer_heard_the_end_of_is_delivered_to_it_too(formed_world: MakeWorld) -> None:
    # A token that rests would be kept until all of the message is sent.
    world = formed_world(3, totem="    direct_token: no\n")
    world.component = {3: 1}
    assert world.run(5.0, lambda: world.lives[1].node.ring.members == (1, 2) and not world.lives[1].node.synchronizing)
    multicast(world, 1, bytes(90_000))
    # 65 packets, at most 17 at each visit: the ring ends when some of them have been sent.
    started = world.lives[1].node.ring.core
    while len(started.started) < 20:
        world.run(0.0001)
        assert world.now < 20.0
    world.component = {}
    multicast(world, 3, b"look, I am here")
    assert world.run(5.0, world.settled)
    check_histories(world)
    last = {life.nodeid: life.heard for life in world.living}
    assert (world.lives[1].number, 0) in last[3]
    assert last[1] == last[2]


def test_an_order_to_stop_among_the_last_messages_of_a_ring_ends_the_node(formed_world: MakeWorld) -> None:
    world = formed_world(3)
    # Node 3 hears no messages until the ring is over, so it is told to die in the middle of the next installation.
    deaf = {3}
    make_deaf(world, deaf)
    node = world.lives[1].node
    node.now = world.now
    node.cfg.kill_node(3, "test")
    world.lives[1].wake()
    world.run(0.2)
    assert world.lives[3].alive
    world.lives[2].crash()
    assert world.run(5.0, lambda: world.lives[3].node.ring.state is State.RECOVERY or not world.lives[3].alive)
    deaf.clear()
    assert world.run(5.0, lambda: not world.lives[3].alive)
    assert world.lives[3].exit is not None
    assert world.run(5.0, world.whole)


def test_a_node_that_missed_a_busy_ring_is_given_all_of_it(formed_world: MakeWorld) -> None:
    """Each of three survivors has thousands of messages for it; together they would be more than a window holds."""
    world = formed_world(4)
    deaf = {4}
    make_deaf(world, deaf)
    sent = 0
    while world.lives[1].node.ring.core.high < 7000:
        for nodeid in (1, 2, 3):
            for _ in range(40):
                try:
                    multicast(world, nodeid, bytes(1200))
                    sent += 1
                except ServiceError:
                    break
        world.run(0.02)
    deaf.clear()
    # A ring without node 4's memory of the old one, but with node 4.
    world.lives[1].node.ring.gather_again("the test wants it", world.now)
    world.lives[1].wake()
    assert world.run(20.0, world.settled)
    check_histories(world)
    for life in world.living:
        assert len(life.heard) == sent
        changes = [
            entry
            for entry in life.history
            if isinstance(entry, ConfigurationChanged) and entry.kind is ConfigurationKind.TRANSITIONAL
        ]
        assert changes[-1].members == (1, 2, 3, 4)


def test_a_safe_message_of_many_packets_waits_for_all(formed_world: MakeWorld) -> None:
    world = formed_world(3)
    deaf = {3}
    make_deaf(world, deaf)
    multicast(world, 1, bytes(5000), safe=True)
    multicast(world, 1, b"behind")
    world.run(0.2)
    assert not any(isinstance(entry, Heard) for life in world.living for entry in life.history)
    deaf.clear()
    assert world.run(10.0, world.settled)
    check_histories(world)
