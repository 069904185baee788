"""A schedule: everything that is done to and in a simulated cluster, each thing with its time.

Schedule and code together make a run; nothing else does. A schedule is generated from a seed (`generate.py`), can be
printed, stored, edited, shrunk and played again. Its text has one statement in a line:

    seed 17
    nodes 3
    votes 1 1 2
    totem token 300
    quorum wait_for_all 1
    link loss 0.01
    at 0.25 split 1,2|3
    calm 3.5

Verbs of faults are described in `faults.py`; those of the workload are:

    start N                  the daemon starts, if it does not run; its process joins the group as soon as it can
    send N COUNT SIZE SAFE   multicast COUNT messages of SIZE bytes to the group, SAFE (1) or agreed (0)
    part N, join N           the process leaves the group; it joins it again
    expect N VOTES           expected votes, as by `totemctl expected`
    vote N NODE VOTES        a node's votes, as by `totemctl votes`
    reload N TOKEN           the configuration file has another token timeout (milliseconds) and is read again
    edit N TOKEN SECONDS     a client on the node proposes another token timeout for all (managed clusters); without
                             quorum for SECONDS after it all go back
    unlist N NODE            a client proposes to take NODE out of the cluster, running or not (managed clusters)
    revote N NODE VOTES      a client proposes other votes for NODE (managed clusters)
    direct N YES             the configuration file allows the direct token (1) or not (0) and is read again
"""

from dataclasses import fields
from typing import Final

from totemd.errors import ConfigError
from totemd.ids import NodeId
from totemd.record import record
from totemd.sim.attacks import ATTACKS

NODES_MAX: Final = 64
"""The largest cluster that is simulated; its rings already take seconds to play."""

TEXT_MAX: Final = 4 * 1024 * 1024
"""Characters of a schedule file."""


@record
class Link:
    """The quality of the network; shares of packets, and seconds."""

    delay_s: float = 0.003
    jitter: float = 0.4
    """A packet takes `delay_s`, more or less by at most this share."""
    loss: float = 0.0
    duplication: float = 0.0
    late: float = 0.0
    late_s: float = 0.01
    reordering: int = 1


@record
class Action:
    """Something done at a moment, by or to `node` (0: to the network)."""

    at_s: float
    verb: str
    node: NodeId = 0
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = [f"{self.at_s:g}" if self.at_s == float(f"{self.at_s:g}") else repr(self.at_s), self.verb]
        return " ".join([*words, *([str(self.node)] if self.node else []), *self.arguments])


@record
class Schedule:
    """A whole run. `totem` and `quorum` are lines of those sections of every node's configuration file."""

    seed: int
    nodes: int
    votes: tuple[int, ...]
    link: Link
    totem: tuple[tuple[str, str], ...]
    quorum: tuple[tuple[str, str], ...]
    actions: tuple[Action, ...]
    calm_s: float
    """When the faults end: the network heals, nothing is slow or paused any more."""
    one_socket: int = 0
    """As with transport udpu: tokens and messages are read in the order in which they arrived."""

    @property
    def token_ms(self) -> int:
        """The token timeout at the start."""
        return int(dict(self.totem).get("token", "300"))

    @property
    def managed(self) -> bool:
        """Whether the configuration is replicated."""
        return any(key == "cluster_id" for key, _ in self.totem)


ARGUMENTS: Final[dict[str, tuple[bool, int]]] = {
    "start": (True, 0),
    "send": (True, 3),
    "part": (True, 0),
    "join": (True, 0),
    "expect": (True, 1),
    "force": (True, 3),
    "vote": (True, 2),
    "reload": (True, 1),
    "direct": (True, 1),
    "edit": (True, 2),
    "revote": (True, 2),
    "unlist": (True, 1),
    "dislike": (True, 1),
    "split": (False, 1),
    "oneway": (False, 1),
    "bridge": (False, 1),
    "heal": (False, 0),
    "crash": (True, 1),
    "leave": (True, 0),
    "pause": (True, 1),
    "stall": (True, 1),
    "jump": (True, 1),
    "drift": (True, 1),
    "slow": (True, 2),
    "slowdisk": (True, 1),
    "baddisk": (True, 0),
    "down": (True, 1),
    "choke": (True, 2),
    "loss": (False, 1),
    "ghost": (True, 2),
    "attack": (True, 2),
}
"""For each verb: whether it names a node, and how many arguments follow."""

_LINK_FIELDS: Final = tuple(field.name for field in fields(Link))


def encode_schedule(schedule: Schedule) -> str:
    """The text of a schedule; `decode_schedule` gives the same schedule."""
    lines = [f"seed {schedule.seed}", f"nodes {schedule.nodes}", f"votes {' '.join(map(str, schedule.votes))}"]
    lines += [f"totem {key} {value}" for key, value in schedule.totem]
    lines += [f"quorum {key} {value}" for key, value in schedule.quorum]
    lines += [f"link {name} {getattr(schedule.link, name)!r}" for name in _LINK_FIELDS]
    lines += [f"one_socket {schedule.one_socket}"]
    lines += [f"at {action}" for action in schedule.actions]
    return "\n".join([*lines, f"calm {schedule.calm_s!r}", ""])


def decode_schedule(text: str, file: str = "schedule") -> Schedule:
    """A schedule from its text. ConfigError names the line that is wrong."""
    if len(text) > TEXT_MAX:
        raise ConfigError(f"too long: a schedule has at most {TEXT_MAX} characters", file=file)
    reader = _Reader(file)
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            reader.read(number, words)
    return reader.finish()


def _link(values: dict[str, float]) -> Link:
    known = Link()
    return Link(
        delay_s=values.get("delay_s", known.delay_s),
        jitter=values.get("jitter", known.jitter),
        loss=values.get("loss", known.loss),
        duplication=values.get("duplication", known.duplication),
        late=values.get("late", known.late),
        late_s=values.get("late_s", known.late_s),
        reordering=int(values.get("reordering", known.reordering)),
    )


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.line = 0
        self.numbers: dict[str, int] = {}
        self.votes: tuple[int, ...] | None = None
        self.link: dict[str, float] = {}
        self.sections: dict[str, list[tuple[str, str]]] = {"totem": [], "quorum": []}
        self.actions: list[Action] = []
        self.calm_s: float | None = None

    def read(self, line: int, words: list[str]) -> None:
        self.line = line
        match words:
            case [("seed" | "nodes" | "one_socket") as key, value]:
                self.numbers[key] = self.whole(value)
            case ["votes", *values]:
                self.votes = tuple(map(self.whole, values))
            case [("totem" | "quorum") as section, key, value]:
                self.sections[section].append((key, value))
            case ["link", name, value] if name in _LINK_FIELDS:
                self.link[name] = self.real(value)
            case ["calm", value]:
                self.calm_s = self.real(value)
            case ["at", time, verb, *rest]:
                self.actions.append(self.action(self.real(time), verb, rest))
            case _:
                raise self.error(f"found {' '.join(words)!r}, which is no statement of a schedule")

    def action(self, at_s: float, verb: str, words: list[str]) -> Action:
        if verb not in ARGUMENTS:
            raise self.error(f"unknown verb {verb!r}; there are {', '.join(ARGUMENTS)}")
        with_node, count = ARGUMENTS[verb]
        if len(words) != count + with_node:
            raise self.error(f"{verb} has {count + with_node} arguments, not {len(words)}")
        node = self.whole(words.pop(0)) if with_node else 0
        for word in words:
            self.check_word(verb, word)
        return Action(at_s, verb, node, tuple(words))

    def check_word(self, verb: str, word: str) -> None:
        """What an action is played with must be what its verb needs."""
        if verb in ("split", "bridge"):
            for part in word.split("|"):
                for nodeid in filter(None, part.split(",")):
                    self.whole(nodeid)
        elif verb == "oneway":
            for pair in word.split(","):
                source, _, target = pair.partition(">")
                self.whole(source)
                self.whole(target)
        elif word not in ("gather", "commit", "recovery", "sync") and not (verb == "attack" and word in ATTACKS):
            self.real(word)

    def finish(self) -> Schedule:
        self.line = 0
        nodes = self.numbers.get("nodes", 0)
        if not 1 <= nodes <= NODES_MAX:
            raise self.error(f"nodes must be given, from 1 to {NODES_MAX}")
        votes = self.votes or (1,) * nodes
        if len(votes) != nodes:
            raise self.error(f"votes are needed for {nodes} nodes, not for {len(votes)}")
        if self.calm_s is None:
            raise self.error("calm must be given: the time when the faults end")
        for action in self.actions:
            if action.node > nodes:
                raise self.error(f"{action}: there are only {nodes} nodes")
        return Schedule(
            seed=self.numbers.get("seed", 0),
            nodes=nodes,
            votes=votes,
            link=_link(self.link),
            totem=tuple(self.sections["totem"]),
            quorum=tuple(self.sections["quorum"]),
            actions=tuple(sorted(self.actions, key=lambda action: action.at_s)),
            calm_s=self.calm_s,
            one_socket=self.numbers.get("one_socket", 0),
        )

    def whole(self, word: str) -> int:
        if not (word.isascii() and word.isdecimal() and len(word) < 20):
            raise self.error(f"found {word!r} where a number belongs")
        return int(word)

    def real(self, word: str) -> float:
        try:
            value = float(word)
        except ValueError:
            value = -1.0
        if not 0 <= value < 1e9:
            raise self.error(f"found {word!r} where a number of 0 or more belongs")
        return value

    def error(self, text: str) -> ConfigError:
        return ConfigError(text, file=self.file, line=self.line)
