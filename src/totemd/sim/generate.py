"""Schedules by seed: what a cluster is like, what is done with it, and what goes wrong, within the given faults."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final

from totemd.ids import NodeId
from totemd.sim.attacks import ATTACKS
from totemd.sim.faults import PHASES, Faults
from totemd.sim.schedule import NODES_MAX, Action, Link, Schedule

TOKEN_MS: Final = 300
TOKEN_COEFFICIENT_MS: Final = 15
"""The token timeout of simulated rings, and how much longer it is for each node beyond five."""

_TOTEM_OPTIONS: Final = (
    ("fail_recv_const", "20"),
    ("cancel_token_hold_on_retransmit", "yes"),
    ("send_join", "20"),
    ("netmtu", "400"),
    ("miss_count_const", "1"),
    ("window_size", "300"),
    ("heartbeat_failures_allowed", "2"),
    ("token_retransmits_before_loss_const", "8"),
)
_QUORUM_OPTIONS: Final = (
    (("wait_for_all", "1"),),
    (("auto_tie_breaker", "1"),),
    (("auto_tie_breaker", "1"), ("wait_for_all", "1"), ("auto_tie_breaker_node", "highest")),
    (("last_man_standing", "1"), ("last_man_standing_window", "500"), ("wait_for_all", "1")),
    (("allow_downscale", "1"),),
    (("expected_votes_tracking", "1"),),
)
_SIZES: Final = ((30,), (1, 30, 30, 300, 3000), (30, 30, 30, 30, 3000, 20_000), (30, 300, 3000, 3000, 100_000, 300_000))
_SIZE_WEIGHTS: Final = (4, 4, 2, 1)


def generate(seed: int, nodes: tuple[int, int], faults: Faults) -> Schedule:
    """The schedule of `seed` for a cluster of `nodes[0]` to `nodes[1]` nodes."""
    return _Generator(seed, nodes, faults).schedule()


class _Generator:
    def __init__(self, seed: int, nodes: tuple[int, int], faults: Faults) -> None:
        least, most = nodes
        if not 1 <= least <= most <= NODES_MAX:
            raise ValueError(f"nodes from 1 to {NODES_MAX} are simulated, not {least}-{most}")
        self.seed = seed
        self.faults = faults
        self.random = Random(f"schedule {seed}")
        self.count = self._cluster_size(least, most)
        self.token_ms = TOKEN_MS + TOKEN_COEFFICIENT_MS * max(0, self.count - 5)
        self.votes = tuple(self._votes())
        self.actions: list[Action] = []
        self.down: set[NodeId] = set()
        """Nodes that are not running, as far as the schedule knows."""

    def _cluster_size(self, least: int, most: int) -> int:
        """Small clusters more often: they are played faster, and show most of what there is to see."""
        sizes = range(least, most + 1)
        return self.random.choices(sizes, [1 / size for size in sizes])[0]

    def _votes(self) -> list[int]:
        if self.random.random() < 0.75:
            return [1] * self.count
        votes = [self.random.choice((0, 1, 1, 2, 3)) for _ in range(self.count)]
        return votes if any(votes) else [1] * self.count

    def schedule(self) -> Schedule:
        random = self.random
        link = self._link()
        totem = [("token", str(self.token_ms)), ("token_coefficient", "0"), ("downcheck", "100")]
        # A ring without news rests sooner than by default: rotations that nobody needs are all that idle time costs.
        totem.append(("seqno_unchanged_const", random.choice(("2", "3", "5", "30") if self.count < 6 else ("2", "3"))))
        if random.random() < 0.4:
            totem.append(random.choice(_TOTEM_OPTIONS))
        # Much shorter than so the timeout derived from these would be too short to be allowed.
        self.tight = ("token_retransmits_before_loss_const", "8") in totem
        quorum: tuple[tuple[str, str], ...] = ()
        if random.random() < 0.4:
            quorum = (
                (("two_node", "1"),) if self.count == 2 and random.random() < 0.5 else random.choice(_QUORUM_OPTIONS)
            )
        if self.faults.sealed:
            totem.append(random.choice((("secauth", "on"), ("crypto_cipher", "aes128"), ("crypto_cipher", "chacha20"))))
        if self.faults.managed:
            totem += [("cluster_id", f"{self.seed % 2**32 + 1:032x}")]
            totem += [] if self.faults.sealed else [("crypto_cipher", "none")]
            # What changes quorum by itself is no ground for one history: now and then only.
            quorum = quorum if random.random() < 0.2 else ()
        self._boot()
        begin_s = random.uniform(0.1, 1.5) * self._unit_s
        fault_end_s = self._faults(begin_s)
        calm_s = self._time(fault_end_s + random.choice((0.0, random.uniform(0.0, 1.5))) * self._unit_s)
        for nodeid in sorted(self.down):
            if random.random() < 0.9:
                self._add(calm_s - random.uniform(0.0, 0.05), "start", nodeid)
        self._workload(begin_s, calm_s)
        self._extensions(calm_s)
        if self.faults.managed:
            self._changes(begin_s, calm_s)
        self._force(begin_s, calm_s)
        if random.random() < 0.3:
            link = self._quick(link)
            self._trains(begin_s, calm_s)
        return Schedule(
            seed=self.seed,
            nodes=self.count,
            votes=self.votes,
            link=link,
            totem=tuple(totem),
            quorum=quorum,
            actions=tuple(sorted(self.actions, key=lambda action: action.at_s)),
            calm_s=calm_s,
            one_socket=int(random.random() < 0.25),
        )

    @property
    def _unit_s(self) -> float:
        """Time is measured by the token timeout: 1 for the usual one."""
        return self.token_ms / TOKEN_MS

    def _time(self, at_s: float) -> float:
        return round(max(0.0, at_s), 6)

    def _add(self, at_s: float, verb: str, node: NodeId = 0, *arguments: object) -> None:
        self.actions.append(Action(self._time(at_s), verb, node, tuple(map(_word, arguments))))

    def _link(self) -> Link:
        random, faults = self.random, self.faults

        def share(most: float) -> float:
            return round(random.choice((0.0, 0.0, 0.2, 1.0)) * most, 6)

        # Quick links make rings go round idly; on slow ones a rotation takes a good part of the token timeout.
        slowest_s = 0.04 / max(5, self.count)
        delay_s = round(slowest_s * random.choice((0.25, 0.5, 1.0)), 6) if self.count < 10 else 0.002
        return Link(
            delay_s=delay_s,
            jitter=random.choice((0.1, 0.4, 0.9)),
            loss=share(faults.loss_max),
            duplication=share(faults.duplication_max),
            late=share(faults.late_max),
            late_s=faults.late_s,
            reordering=int(faults.reordering and random.random() < 0.8),
        )

    def _boot(self) -> None:
        """All at once, one after the other, or some much later."""
        spread = self.random.choice((0.0, 0.05, 0.5))
        for nodeid in range(1, self.count + 1):
            at_s = self.random.uniform(0.0, spread)
            self._add(at_s * self._unit_s, "start", nodeid)

    # Faults

    def _faults(self, at_s: float) -> float:
        random, faults = self.random, self.faults
        kinds: list[tuple[int, Callable[[float], None]]] = [
            (faults.partitions, self._partition),
            (faults.crashes, self._crash),
            (faults.leaves, self._leave),
            (faults.pauses, self._pause),
            (faults.clocks, self._clock),
            (faults.slow, self._slow),
            (faults.disks, self._disk),
            (faults.interfaces, self._interface),
            (faults.chokes, self._choke),
            (faults.losses, self._loss),
            (faults.ghosts, self._ghost),
            (faults.attacks, self._attack),
            (faults.dislikes, self._dislike),
        ]
        weights = [weight for weight, _ in kinds]
        if not any(weights):
            return at_s + random.uniform(0.0, 1.0)
        for _ in range(random.randint(*faults.counts)):
            random.choices(kinds, weights)[0][1](at_s)
            at_s += random.choice((random.uniform(0.0, 0.1), random.uniform(0.1, 1.0))) * self._unit_s
        return at_s

    def _victim(self) -> NodeId:
        return self.random.randint(1, self.count)

    def _partition(self, at_s: float) -> None:
        random = self.random
        nodes = list(range(1, self.count + 1))
        random.shuffle(nodes)
        kind = random.choice(("split", "split", "split", "bridge", "oneway", "heal", "heal"))
        if kind == "heal" or self.count == 1:
            self._add(at_s, "heal")
        elif kind == "oneway":
            pairs = {(self._victim(), self._victim()) for _ in range(random.randint(1, 2))}
            text = ",".join(f"{a}>{b}" for a, b in sorted(pairs) if a != b)
            self._add(at_s, "oneway" if text else "heal", 0, *([text] if text else []))
        elif kind == "bridge" and self.count > 2:
            first = random.randint(1, self.count - 2)
            last = random.randint(first + 1, self.count - 1)
            self._add(at_s, "bridge", 0, _parts(nodes[:first], nodes[first:last], nodes[last:]))
        else:
            cut = random.randint(1, self.count - 1)
            self._add(at_s, "split", 0, _parts(nodes[:cut], nodes[cut:]))

    def _restart(self, nodeid: NodeId, at_s: float) -> None:
        after_s = self.random.choice((0.001, self.random.uniform(0.0, 0.3), self.random.uniform(0.3, 1.5)))
        if self.random.random() < 0.8:
            self._add(at_s + after_s * self._unit_s, "start", nodeid)
        self.down.add(nodeid)

    def _crash(self, at_s: float) -> None:
        nodeid = self._victim()
        self._add(at_s, "crash", nodeid, self.random.randint(0, 1))
        self._restart(nodeid, at_s)

    def _leave(self, at_s: float) -> None:
        nodeid = self._victim()
        self._add(at_s, "leave", nodeid)
        self._restart(nodeid, at_s + 0.02)

    def _ghost(self, at_s: float) -> None:
        nodeid = self._victim()
        self._add(at_s, "ghost", nodeid, self.random.choice(PHASES), self.random.choice((0, 0, 1, 2, 5)))
        self._restart(nodeid, at_s + 0.1)

    def _pause(self, at_s: float) -> None:
        seconds = self.random.choice((0.05, 0.2, 0.35, 0.6, 1.5)) * self._unit_s
        self._add(at_s, "pause", self._victim(), seconds)

    def _clock(self, at_s: float) -> None:
        random = self.random
        match random.choice(("stall", "jump", "drift")):
            case "drift":
                self._add(at_s, "drift", self._victim(), random.choice((0.8, 0.99, 1.01, 1.25)))
            case verb:
                self._add(at_s, verb, self._victim(), random.choice((0.1, 0.5, 3.0)) * self._unit_s)

    def _slow(self, at_s: float) -> None:
        self._add(at_s, "slow", self._victim(), self.random.choice((20, 200)), self.random.choice((0.3, 1.0)))

    def _disk(self, at_s: float) -> None:
        nodeid = self._victim()
        if self.random.random() < 0.7:
            self._add(at_s, "slowdisk", nodeid, self.random.choice((0.0, 0.05, 0.4, 1.0)) * self._unit_s)
        else:
            self._add(at_s, "baddisk", nodeid)
            self.down.add(nodeid)

    def _interface(self, at_s: float) -> None:
        self._add(at_s, "down", self._victim(), self.random.choice((0.05, 0.2, 0.5, 1.2)) * self._unit_s)

    def _choke(self, at_s: float) -> None:
        self._add(at_s, "choke", self._victim(), self.random.choice((0.3, 0.9, 1.0)), self.random.choice((0.02, 0.3)))

    def _loss(self, at_s: float) -> None:
        self._add(at_s, "loss", 0, self.random.choice((0.0, 0.05, 0.2, 0.4)))

    def _attack(self, at_s: float) -> None:
        random = self.random
        for _ in range(random.randint(1, 4)):
            self._add(at_s, "attack", self._victim(), random.choice(ATTACKS), random.choice((1, 10, 100)))
            at_s += random.uniform(0.0, 0.2)

    def _dislike(self, at_s: float) -> None:
        self._add(at_s, "dislike", self._victim(), self.random.choice((0.02, 0.3, 1.0)) * self._unit_s)

    # Workload

    def _workload(self, begin_s: float, calm_s: float) -> None:
        """Messages all the time, some of them after the calm; now and then something else."""
        random = self.random
        sizes = random.choices(_SIZES, _SIZE_WEIGHTS)[0]
        pace_s = random.choice((0.02, 0.05, 0.15) if sizes[-1] < 20_000 else (0.15, 0.3)) * self._unit_s
        safe_share = random.choice((0.0, 0.25, 1.0))
        at_s = 0.1
        while at_s < calm_s + 0.3:
            count = random.choice((1, 1, 1, 3, 15)) if sizes[-1] < 20_000 else random.choice((1, 1, 2))
            safe = int(random.random() < safe_share)
            self._add(at_s, "send", self._victim(), count, random.choice(sizes), safe)
            at_s += random.expovariate(1 / pace_s)
        for _ in range(random.choice((0, 0, 1, 2, 4))):
            self._request(random.uniform(begin_s, calm_s + 0.2), calm_s)

    def _request(self, at_s: float, calm_s: float) -> None:
        random = self.random
        nodeid = self._victim()
        total = sum(self.votes)
        match random.choice(("part", "part", "part", "expect", "vote", "reload", "reload", "reload")):
            case "part":
                self._add(at_s, "part", nodeid)
                if random.random() < 0.8:
                    self._add(at_s + random.uniform(0.0, 0.5), "join", nodeid)
            case "expect":
                # Mostly as many as there are: any other number is the operator's risk, see `quorum_gives_up`.
                other = random.randint(1, total + 2) if random.random() < 0.3 else total
                self._add(at_s, "expect", nodeid, other)
            case "vote":
                self._add(at_s, "vote", nodeid, self._victim(), random.choice((0, 1, 2)))
            case _:
                token_ms = int(self.token_ms * random.choice((1.2, 1.5, 2) if self.tight else (0.7, 1.5, 2)))
                for other in range(1, self.count + 1):
                    if random.random() < 0.9:
                        self._add(at_s + random.uniform(0.0, 0.05), "reload", other, token_ms)

    def _changes(self, begin_s: float, calm_s: float) -> None:
        """The configuration is changed again and again, by one node or by several at once; what a file of one node
        would change, and votes that are set at run time, are left out: here they go by way of all."""
        self.actions = [
            action for action in self.actions if action.verb not in ("reload", "direct", "expect", "vote", "force")
        ]
        random = self.random
        for _ in range(random.choice((2, 4, 8))):
            at_s = random.uniform(begin_s, calm_s + 0.1)
            for _ in range(random.choice((1, 1, 1, 2, 3))):
                kind = random.random()
                if kind < 0.08:
                    self._add(at_s, "unlist", self._victim(), self._victim())
                elif kind < 0.4:
                    votes = random.choice((0, 1, 1, 2))
                    self._add(at_s, "revote", self._victim(), self._victim(), votes)
                else:
                    token_ms = int(self.token_ms * random.choice((1.2, 1.5, 2) if self.tight else (0.7, 1, 1.5, 2)))
                    token_ms = 1 if random.random() < 0.1 else token_ms
                    self._add(at_s, "edit", self._victim(), token_ms, random.choice((1, 2, 30)))
                at_s += random.choice((0.0, 0.001, 0.01))
            if at_s < calm_s - 0.4:
                self._interrupt(at_s, calm_s)

    def _interrupt(self, at_s: float, calm_s: float) -> None:
        """Something fails while a change is being decided on, which takes a few visits of the token."""
        random = self.random
        kind = random.choice(("nothing", "split", "split", "crash", "crash", "all crash", "pause"))
        at_s += random.uniform(0.0, 0.12) * self._unit_s
        again_s = random.uniform(at_s + 0.05, calm_s - 0.05)
        nodes = list(range(1, self.count + 1))
        random.shuffle(nodes)
        match kind:
            case "split" if self.count > 1:
                cut = random.randint(1, self.count - 1)
                self._add(at_s, "split", 0, _parts(nodes[:cut], nodes[cut:]))
                if random.random() < 0.5:
                    self._add(again_s, "heal")
            case "crash" | "all crash":
                for nodeid in nodes[: 1 if kind == "crash" else self.count]:
                    self._add(at_s, "crash", nodeid, random.randint(0, 1))
                    self._add(again_s + random.uniform(0.0, 0.04), "start", nodeid)
            case "pause":
                self._add(at_s, "pause", nodes[0], random.choice((0.2, 0.6, 1.5)) * self._unit_s)

    def _force(self, begin_s: float, calm_s: float) -> None:
        """Expected votes are forced for a while, with a yes or without; drawn apart: all else stays as it was. Beside
        changes of votes it is more often, and without a yes, for with one there is nothing to be held."""
        random = Random(f"force {self.seed}")
        total = sum(self.votes)
        managed = self.faults.managed
        for _ in range(random.choice((0,) * (4 if managed else 11) + (1, 2))):
            at_s, nodeid = random.uniform(begin_s, calm_s + 0.2), random.randint(1, self.count)
            votes, seconds, yes = random.randint(1, total + 1), random.randint(1, 3), random.randint(0, 1)
            self._add(at_s, "force", nodeid, votes, seconds, 0 if managed else yes)

    def _extensions(self, calm_s: float) -> None:
        """The direct token is used by all nodes, by none, by some, or by some for a while."""
        random = self.random
        kind = random.choice(("all", "all", "all", "none", "some", "changing", "changing"))
        for nodeid in range(1, self.count + 1):
            if kind == "none" or (kind != "all" and random.random() < 0.3):
                self._add(0.0, "direct", nodeid, 0)
        for _ in range(random.randint(1, 6) if kind == "changing" else 0):
            self._add(random.uniform(0.0, calm_s + 0.2), "direct", self._victim(), random.randint(0, 1))

    def _quick(self, link: Link) -> Link:
        """A network on which the token rests while nothing happens, and is lent to and fro."""
        random = self.random
        return replace(link, delay_s=random.choice((0.0003, 0.001)), jitter=0.1, reordering=int(random.random() < 0.2))

    def _trains(self, begin_s: float, calm_s: float) -> None:
        """One or two nodes multicast again and again, at short intervals."""
        random = self.random
        for _ in range(random.randint(1, 5)):
            senders = [self._victim() for _ in range(random.choice((1, 2, 2, 3)))]
            at_s, pace_s = random.uniform(begin_s, calm_s), random.choice((0.001, 0.003, 0.01))
            safe_share = random.choice((0.0, 0.0, 0.1))
            for _ in range(random.randint(5, 40)):
                safe = int(random.random() < safe_share)
                self._add(at_s, "send", random.choice(senders), random.choice((1, 1, 1, 4)), 30, safe)
                at_s += random.expovariate(1 / pace_s)


def _word(argument: object) -> str:
    return repr(round(argument, 6)) if isinstance(argument, float) else str(argument)


def _parts(*parts: list[NodeId]) -> str:
    return "|".join(",".join(map(str, sorted(part))) for part in parts)
