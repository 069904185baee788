"""A random history of a cluster: faults by seed, then peace; checked all the way."""

from __future__ import annotations

from random import Random

from node_world import World, check_histories
from packet_forgery import Forger
from totemd.totem.core import State

TOTEM_OPTIONS = (
    "fail_recv_const: 20\n",
    "cancel_token_hold_on_retransmit: yes\n",
    "send_join: 20\n",
    "seqno_unchanged_const: 3\n",
    "netmtu: 400\n",
    "miss_count_const: 1\n",
    "window_size: 400\nmax_messages: 100\n",
    "heartbeat_failures_allowed: 2\n",
)

PEACE_S = 40.0
"""Within this the cluster has to be whole again: dozens of token timeouts."""

PEACE_AFTER_HARM_S = 300.0
"""The same, where a stuck synchronization may have to be noticed more than once."""


def make_world(seed: int) -> World:
    """A cluster of 2 to 5 nodes with a network of random quality."""
    random = Random(f"world {seed}")
    count = random.choice((2, 3, 3, 3, 4, 5))
    sizes = random.choice(((30,), (30, 30, 300, 3000), (30, 30, 30, 3000, 20_000, 100_000)))
    return World(
        count,
        seed=seed,
        loss=random.choice((0.0, 0.0, 0.005, 0.03)),
        doubles=random.choice((0.0, 0.02)),
        late=random.choice((0.0, 0.01, 0.1)),
        one_socket=random.random() < 0.3,
        sizes=sizes,
        safe_share=random.choice((0.0, 0.25, 1.0)),
        pace_s=random.choice((0.03, 0.1, 0.3) if sizes[-1] > 3000 else (0.005, 0.03, 0.1)),
        totem=random.choice(("", "", *TOTEM_OPTIONS)),
    )


def play(seed: int, faults: int | None = None) -> World:
    """Play the history and check it; AssertionError tells what went wrong."""
    world = make_world(seed)
    random = Random(f"faults {seed}")
    for nodeid in range(1, world.count + 1):
        world.at(random.choice((0.0, 0.0, random.uniform(0.0, 1.0))), lambda nodeid=nodeid: world.start(nodeid))  # type: ignore[misc]
    world.run(random.uniform(0.1, 2.0))
    usual_loss = world.loss
    for _ in range(random.randrange(3, 9) if faults is None else faults):
        _fault(world, random, usual_loss)
        world.run(random.choice((random.uniform(0.0, 0.1), random.uniform(0.1, 1.5))))
        if random.random() < 0.15:
            check_quorum_after_calm(world)
    _make_peace(world)
    assert world.run(PEACE_S, world.whole), f"not one ring: {describe(world)}"
    world.run(0.3)
    world.sending = False
    assert world.run(PEACE_S, world.settled), f"not all delivered: {describe(world)}"
    world.run(0.5)
    assert world.whole(), f"fell apart in peace: {describe(world)}"
    check_histories(world)
    assert len(world.quorate_sides()) == 1
    for life in world.living:
        core = life.node.ring.core
        assert not core.queue
        assert not core.transitional_queue
        assert len(core.window) < 200
        assert life.members == world.living[0].members
        assert {nodeid for nodeid, _ in life.members} == set(world.lives)
    return world


def play_hostile(seed: int, share: float = 0.02, duration_s: float = 4.0) -> World:
    """A cluster in which some packets are followed by a forged one; then no more. Nothing may raise or grow, and all
    has to be well again in the end."""
    world = make_world(seed)
    world.hostile = True
    world.pace_s = max(world.pace_s, 0.03)
    random = Random(f"hostile {seed}")
    forger = Forger(seed, world.count)
    for nodeid in range(1, world.count + 1):
        world.start(nodeid)
    world.run(random.choice((0.0, 1.0)))
    world.tamper = lambda source, target, data: forger.forge(data) if random.random() < share else None
    until = world.now + duration_s
    while world.now < until:
        world.run(0.5)
        for nodeid, life in world.lives.items():
            # A forged order to stop is obeyed like any other.
            if not life.alive:
                world.start(nodeid)
    world.tamper = None
    _make_peace(world)
    assert world.run(PEACE_AFTER_HARM_S, world.whole), f"not one ring: {describe(world)}"
    world.sending = False
    assert world.run(PEACE_AFTER_HARM_S, lambda: world.whole() and all(life.joined for life in world.living)), describe(
        world
    )
    # What a forged message changed on some nodes only, the next synchronization puts right.
    world.lives[1].node.ring.gather_again("the test wants it", world.now)
    world.lives[1].wake()
    world.run(1.0)
    assert world.run(PEACE_AFTER_HARM_S, lambda: world.whole() and all(life.joined for life in world.living)), describe(
        world
    )
    for life in world.living:
        assert world.run(PEACE_AFTER_HARM_S, lambda: life.node.ring.send_queue_free > 100), describe(world)  # noqa: B023
        life.node.cpg.multicast(life, b"fresh %d" % life.number, safe=bool(life.number % 2))
        life.wake()
    fresh = {b"fresh %d" % life.number for life in world.living}
    heard = world.run(PEACE_AFTER_HARM_S, lambda: all(fresh <= life.fresh for life in world.living))
    assert heard, f"not all heard: {describe(world)}: {[len(fresh - life.fresh) for life in world.living]}"
    return world


def _fault(world: World, random: Random, usual_loss: float) -> None:
    nodes = list(range(1, world.count + 1))
    victim = random.choice(nodes)
    life = world.lives.get(victim)
    match random.choice(("split", "split", "heal", "crash", "crash", "leave", "pause", "loss", "calm", "deaf", "hear")):
        case "split":
            random.shuffle(nodes)
            cut = random.randrange(1, world.count)
            world.component = {nodeid: int(index < cut) for index, nodeid in enumerate(nodes)}
        case "heal":
            world.component = {}
        case "crash":
            if life is not None and life.alive:
                life.crash()
                world.restart(victim, random.choice((0.0, random.uniform(0.0, 0.3), random.uniform(0.3, 2.0))))
        case "leave":
            if life is not None and life.alive:
                life.leave()
                world.restart(victim, random.choice((0.001, random.uniform(0.0, 1.0))))
        case "pause":
            if life is not None and life.alive:
                world.pause(victim, random.choice((0.05, 0.2, 0.5, 1.5)))
        case "loss":
            world.loss = random.choice((0.05, 0.2, 0.4))
        case "calm":
            world.loss = usual_loss
        case "deaf":
            other = random.choice(nodes)
            world.deaf[other, victim] = random.choice((0.3, 0.9, 1.0))
        case "hear":
            world.deaf.clear()


def check_quorum_after_calm(world: World) -> None:
    """The present partition lasts long enough for everybody to know: only one side may be quorate."""
    loss, world.loss = world.loss, 0.0
    world.deaf.clear()
    world.run(3.0)
    sides = {
        life.node.ring.members
        for life in world.living
        if life.node.quorum.get_quorate() and life.node.ring.state is State.OPERATIONAL
    }
    assert len(sides) <= 1, f"quorate: {sides}"
    world.loss = loss


def _make_peace(world: World) -> None:
    world.component = {}
    world.deaf.clear()
    world.loss = world.doubles = world.late = 0.0
    for nodeid in range(1, world.count + 1):
        if nodeid in world.lives and not world.lives[nodeid].alive:
            world.restart(nodeid, 0.0)
    world.run(2.5)


def describe(world: World) -> str:
    """Where everybody is, for people."""
    parts = []
    for life in world.living:
        ring, core = life.node.ring, life.node.ring.core
        parts.append(
            f"{life.nodeid}/{life.number}: {ring.state.value} {ring.ring} {ring.members} proc {list(core.proc)} "
            f"failed {list(core.failed)} {life.node.sync.phase} "
            f"queues {len(core.queue)},{len(core.transitional_queue)} "
            f"own {len([i for i in life.heard if i[0] == life.number])} of {len(life.accepted)}"
        )
    return "; ".join(parts)
