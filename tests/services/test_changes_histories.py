"""The service "changes" under everything that can happen to it: one history, one version in a component (chapter
"Replicated configuration"). Nodes crash between any two things they do, disks are held up, rings break in the middle of
attempts and of synchronization, and clients go on proposing."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from changes_cluster import ChangesCluster
from totemd.cluster.nodelist_text import set_votes
from totemd.services.changes import Outcome

NODES = (1, 2, 3, 4)

_node = st.sampled_from(NODES)
_steps = st.integers(0, 40)
_partition = st.lists(st.integers(0, 2), min_size=len(NODES), max_size=len(NODES))
ACTION = st.one_of(
    st.tuples(st.just("form"), _partition, st.integers(0, 3)),
    st.tuples(st.just("edit"), _node, st.integers(1000, 9000)),
    st.tuples(st.just("vote"), _node, _node, st.integers(0, 2)),
    st.tuples(st.just("crash"), _node),
    st.tuples(st.just("hold"), _node),
    st.tuples(st.just("release"), _node),
    st.tuples(st.just("refuse"), _node),
    st.tuples(st.just("turns"), st.lists(_node, max_size=60)),
    st.tuples(st.just("steps"), _steps),
    st.tuples(st.just("wait"), st.sampled_from((1.0, 12.0, 40.0))),
)


class Histories:
    """Plays actions, and keeps what must stay true of what has come into force."""

    def __init__(self) -> None:
        self.cluster = ChangesCluster(dict.fromkeys(NODES, 1))
        self.contents: dict[int, tuple[bytes, int]] = {}
        self.refused: set[bytes] = set()
        self.accepted: dict[bytes, int] = {}
        self._idents = 0

    def play(self, action: tuple[object, ...]) -> None:
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


@settings(max_examples=50, deadline=None)
@given(st.lists(ACTION, max_size=30))
def test_there_is_one_history(actions: list[tuple[object, ...]]) -> None:
    histories = Histories()
    histories.cluster.ring.form(set(NODES))
    histories.do_steps(30)
    for action in actions:
        histories.play(action)
    histories.end()
