"""What each verb of a schedule does: to the network, to a host, or to the daemon that runs on it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from totemd.sim.history import End
from totemd.sim.host import Host
from totemd.sim.network import Network

if TYPE_CHECKING:
    from totemd.sim.life import Life
    from totemd.sim.world import World

DOWNCHECK_S: Final = 0.1
"""How long after its interface a node notices."""


def crash(world: "World", life: "Life", survives: float) -> None:
    """The daemon is gone; what it was writing is there in part of the cases."""
    life.host.in_flight_survives = bool(survives)
    life.end(End.CRASH, "killed")


def leave(world: "World", life: "Life") -> None:
    """The daemon is told to stop."""
    life.leaving = True
    life.call(lambda: life.node.leave(life.host.clock(world.now)))


def reload(world: "World", life: "Life", token_ms: float) -> None:
    """The file has another token timeout."""
    world.set_totem(life.nodeid, "token", str(int(token_ms)))
    life.call(lambda: life.node.request_reload(lambda error: None))


def _direct(world: "World", host: Host, yes: float) -> None:
    """The file allows the direct token, or not."""
    if host.busy_until > world.now:
        world.at(host.free_at(world.now), _direct, world, host, yes)
        return
    world.set_totem(host.nodeid, "direct_token", "yes" if yes else "no")
    life = world.lives.get(host.nodeid)
    if life is not None and life.alive:
        node = life.node
        life.call(lambda: node.request_reload(lambda error: None))


def expect(world: "World", life: "Life", votes: float) -> None:
    """Expected votes of the whole cluster."""
    if life.node.votequorum is not None:
        votequorum = life.node.votequorum
        life.call(lambda: votequorum.set_expected(int(votes)))


def force(world: "World", life: "Life", votes: float, seconds: float, yes: float) -> None:
    """Expected votes of those who are present, for a while."""
    if life.node.votequorum is not None:
        votequorum = life.node.votequorum
        life.call(lambda: votequorum.force_expected(int(votes), int(seconds), yes=bool(yes)))


def vote(world: "World", life: "Life", nodeid: float, votes: float) -> None:
    """A node's votes."""
    if life.node.votequorum is not None:
        votequorum = life.node.votequorum
        life.call(lambda: votequorum.set_votes(int(nodeid), int(votes)))


def interface_down(world: "World", host: Host, seconds: float) -> None:
    """The interface is down for a while."""
    if host.link_up:
        host.link_up = False
        world.at(world.now + DOWNCHECK_S * host.random.random(), _interface_seen, world, host, False)
        world.at(world.now + seconds, interface_up, world, host)


def interface_up(world: "World", host: Host) -> None:
    """It is up again, if it was down."""
    if not host.link_up:
        host.link_up = True
        world.at(world.now + DOWNCHECK_S * host.random.random(), _interface_seen, world, host, True)


def _interface_seen(world: "World", host: Host, up: bool) -> None:
    life = world.lives.get(host.nodeid)
    if host.busy_until > world.now:
        world.at(host.free_at(world.now), _interface_seen, world, host, up)
    elif life is not None and host.link_up == up:
        life.call(lambda: life.node.interface_changed(up=up, now=host.clock(world.now)))


def _pause(world: "World", host: Host, seconds: float) -> None:
    host.busy_until = max(host.busy_until, world.now + seconds)


def _stall(world: "World", host: Host, seconds: float) -> None:
    host.stand(seconds, world.now)


def _jump(world: "World", host: Host, seconds: float) -> None:
    host.jump(seconds)
    life = world.lives.get(host.nodeid)
    if life is not None:
        life.call(lambda: None)


def _drift(world: "World", host: Host, rate: float) -> None:
    host.set_rate(rate, world.now)
    life = world.lives.get(host.nodeid)
    if life is not None:
        life.call(lambda: None)


def _slow(world: "World", host: Host, factor: float, seconds: float) -> None:
    host.slowness = max(1.0, factor)

    def over() -> None:
        host.slowness = 1.0

    world.at(world.now + seconds, over)


def _slowdisk(world: "World", host: Host, seconds: float) -> None:
    host.disk_delay_s = seconds


def _baddisk(world: "World", host: Host) -> None:
    host.disk_refuses = True


def _choke(world: "World", host: Host, share: float, seconds: float) -> None:
    host.choke_share = share
    host.choke_until = world.now + seconds


def _send(world: "World", life: "Life", count: float, size: float, safe: float) -> None:
    life.process.send(int(count), int(size), bool(safe))


NETWORK_ACTIONS: Final[dict[str, Callable[..., None]]] = {
    "split": Network.split,
    "bridge": Network.bridge,
    "oneway": Network.cut,
    "heal": Network.heal,
    "loss": lambda network, share: network.lose(float(share)),
}


def _dislike(world: "World", host: Host, seconds: float) -> None:
    host.dislikes_until = world.now + seconds


def _edit(world: "World", life: "Life", token_ms: float, seconds: float) -> None:
    if life.replicated is not None:
        life.replicated.edit(int(token_ms), int(seconds))


def _revote(world: "World", life: "Life", nodeid: float, votes: float) -> None:
    if life.replicated is not None:
        life.replicated.revote(int(nodeid), int(votes))


def _unlist(world: "World", life: "Life", nodeid: float) -> None:
    if life.replicated is not None:
        life.replicated.unlist(int(nodeid))


HOST_ACTIONS: Final[dict[str, Callable[..., None]]] = {
    "pause": _pause,
    "stall": _stall,
    "jump": _jump,
    "drift": _drift,
    "slow": _slow,
    "slowdisk": _slowdisk,
    "baddisk": _baddisk,
    "down": interface_down,
    "direct": _direct,
    "choke": _choke,
    "dislike": _dislike,
}
LIFE_ACTIONS: Final[dict[str, Callable[..., None]]] = {
    "send": _send,
    "part": lambda world, life: life.process.part(),
    "join": lambda world, life: life.process.join(),
    "expect": expect,
    "force": force,
    "vote": vote,
    "reload": reload,
    "edit": _edit,
    "revote": _revote,
    "unlist": _unlist,
    "crash": crash,
    "leave": leave,
}
