"""Histories of a cluster's configuration over an order made in memory: what is done, and what must stay true."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

from changes_cluster import ChangesCluster
from totemd.cluster.nodelist_text import set_votes
from totemd.services.changes import Outcome
from totemd.wire.changes import ChangesFunction
from totemd.wire.service import decode_service_header

NODES = (1, 2, 3)
"""Few: the more of them, the more seldom something hits most of them at the same time."""
Action = tuple[Any, ...]
CUTS = (
    ChangesFunction.COMMIT,
    ChangesFunction.COMMIT,
    ChangesFunction.PREPARED,
    ChangesFunction.WITHDRAW,
    ChangesFunction.PROPOSE,
    ChangesFunction.CONFIRM,
    ChangesFunction.REVERT,
)


class Histories:
    """Plays actions, and keeps what must stay true of what has come into force."""

    def __init__(self) -> None:
        self.cluster = ChangesCluster(dict.fromkeys(NODES, 1))
        self.contents: dict[int, tuple[bytes, int]] = {}
        self.refused: set[bytes] = set()
        self.accepted: dict[bytes, int] = {}
        self._idents = 0

    def play(self, action: Action) -> None:
        name, *arguments = action
        getattr(self, f"do_{name}")(*arguments)
        self.look()

    def do_form(self, parts: list[int], last_words: int) -> None:
        components = [{node for node, part in zip(NODES, parts, strict=True) if part == number} for number in range(3)]
        self.cluster.ring.form(*(part for part in components if part), last_words=last_words)

    def do_edit(self, node: int, token: int) -> None:
        text = self.cluster.service(node).current().text
        lines = [line for line in text.split("\n") if "token:" not in line]
        lines.insert(1, f"    token: {token}")
        self._propose(node, "\n".join(lines))

    def do_vote(self, node: int, target: int, votes: int) -> None:
        self._propose(node, set_votes(self.cluster.service(node).current().text, target, votes))

    def _propose(self, node: int, text: str) -> None:
        change = self.cluster.change(node, text)

        def done(outcome: Outcome) -> None:
            if outcome.accepted:
                self.accepted[change.ident] = outcome.version
            elif not outcome.undecided:
                self.refused.add(change.ident)

        if not self.cluster.node(node).host.shutdowns:
            self.cluster.service(node).propose(change, done)

    def do_crash(self, node: int) -> None:
        self.cluster.crash(node)

    def do_cut(self, function: int, parts: list[int], crashed: list[int], words: int) -> None:
        """The ring breaks when somebody has just sent a message of that kind; some nodes crash."""
        for node in NODES * 70:
            if any(
                decode_service_header(message).function == function for message in self.cluster.node(node).host.queue
            ):
                break
            self.cluster.step(node)
            self.look()
        for node in crashed[::2]:
            self.do_crash(node)
        self.do_form(parts, words)
        for node in crashed[1::2]:
            self.do_crash(node)
        for node in NODES:
            self.do_edit(node, 1000 + len(self.contents))
        self.do_steps(20)

    def do_hold(self, node: int) -> None:
        self.cluster.around[node].disk.held = True

    def do_release(self, node: int) -> None:
        self.cluster.around[node].disk.held = False
        self.cluster.around[node].refuses = None

    def do_refuse(self, node: int) -> None:
        self.cluster.around[node].refuses = "not today"

    def do_turns(self, nodes: list[int]) -> None:
        for node in nodes:
            self.cluster.step(node)
            self.look()

    def do_steps(self, count: int) -> None:
        self.do_turns([node for _ in range(count) for node in NODES])

    def do_wait(self, seconds: float) -> None:
        self.cluster.pass_time(seconds)

    def look(self) -> None:
        """One history, and one version in a component that is synchronized."""
        versions: dict[object, set[int]] = {}
        for node in NODES:
            member, service = self.cluster.node(node), self.cluster.service(node)
            if member.host.shutdowns:
                continue
            current = service.current()
            known = self.contents.setdefault(current.version, (current.ident, current.base_version))
            assert known == (current.ident, current.base_version), f"two contents of version {current.version}"
            assert current.ident not in self.refused, f"version {current.version} was refused"
            if not member.host.syncing and member.ring.seq:
                assert self.cluster.around[node].in_force[-1] == service.active().version
                versions.setdefault(member.ring, set()).add(service.active().version)
        quorate = {
            self.cluster.node(node).ring
            for node in NODES
            if self.cluster.node(node).ring in versions and self.cluster.around[node].quorate()
        }
        assert len(quorate) < 2, f"{quorate} both have quorum"
        for ring, found in versions.items():
            assert len(found) == 1, f"versions {found} in ring {ring}"
        chain = sorted(self.contents.items())
        for (before, _), (version, (_, base)) in pairwise(chain):
            assert base == before, f"version {version} was made from {base}, after {before}"

    def end(self) -> None:
        """All is well again: all nodes have the same version, and every answer has come true."""
        for node in NODES:
            self.do_release(node)
            if self.cluster.node(node).host.shutdowns:
                self.cluster.crash(node)
        self.cluster.ring.form(set(NODES))
        for _ in range(6):
            self.do_steps(60)
            self.cluster.pass_time(10.0)
        self.look()
        services = [self.cluster.service(node) for node in NODES]
        assert all(not self.cluster.node(node).host.syncing for node in NODES)
        assert len({service.current().ident for service in services}) == 1
        assert all(service.settled for service in services), [service.pending() for service in services]
        idents = {ident for ident, _ in self.contents.values()}
        assert set(self.accepted) <= idents
        assert all(version <= services[0].current().version for version in self.accepted.values())


def play_seed(seed: int) -> Histories:
    """A history by chance. AssertionError: a promise is broken."""
    random = Random(seed)
    histories = Histories()
    histories.cluster.ring.form(set(NODES))
    histories.do_steps(30)
    for _ in range(random.randint(5, 50)):
        histories.play(_action(random))
    histories.end()
    return histories


def _action(random: Random) -> Action:
    node = random.choice(NODES)
    together = random.random() < 0.4
    parts = [0 if together else random.randint(0, 2) for _ in NODES]
    crashed = random.sample(NODES, random.choice((0, 0, 1, 2)))
    turns = [random.choice(NODES) for _ in range(random.randint(0, 60))]
    actions: list[tuple[int, Action]] = [
        (2, ("form", parts, random.randint(0, 3))),
        (4, ("edit", node, random.randint(1000, 9000))),
        (1, ("vote", node, random.choice(NODES), random.randint(0, 2))),
        (1, ("crash", node)),
        (2, ("hold", node)),
        (4, ("cut", random.choice(CUTS), parts, crashed, random.randint(0, 4))),
        (2, ("release", node)),
        (0 if random.random() < 0.7 else 1, ("refuse", node)),
        (3, ("turns", turns)),
        (2, ("steps", random.randint(0, 30))),
        (1, ("wait", random.choice((1.0, 12.0, 40.0)))),
    ]
    return random.choices([action for _, action in actions], [weight for weight, _ in actions])[0]
