"""Votes of nodes that crash, restart, split and merge, against a few sentences of votequorum(5).

The model knows nothing of messages, flags or orders: a component is quorate when it has more than half of all votes
(with two_node: any vote), and, with wait_for_all, if all votes are there or it goes on from a quorate component.
"""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from totemd.config.model import QuorumSettings
from totemd.ids import NodeId
from voting_cluster import VotingCluster


class VotingMachine(RuleBasedStateMachine):
    """`component` and `quorate` of each living node, as they should be."""

    @initialize(
        votes=st.lists(st.sampled_from((1, 1, 1, 2, 3, 0)), min_size=1, max_size=6).filter(any),
        option=st.sampled_from(("", "wait_for_all", "wait_for_all", "two_node")),
    )
    def begin(self, votes: list[int], option: str) -> None:
        two_node = option == "two_node"
        if two_node:
            votes = [1, 1]
        self.votes = dict(enumerate(votes, 1))
        self.all_votes = sum(votes)
        self.wait_for_all = option != ""
        self.needed = 1 if two_node else self.all_votes // 2 + 1
        options = QuorumSettings(expected_votes=self.all_votes, two_node=two_node, wait_for_all=self.wait_for_all)
        self.cluster = VotingCluster(len(votes), options, self.votes)
        self.component: dict[NodeId, frozenset[NodeId]] = {}
        self.quorate: dict[NodeId, bool] = {}

    @rule(data=st.data())
    def new_components(self, data: st.DataObject) -> None:
        """Every node is in one of some components, or down."""
        places = {node: data.draw(st.integers(0, 3), label=f"node {node}") for node in self.votes}
        self.form([frozenset(n for n in places if places[n] == place) for place in (1, 2, 3)])

    @rule(data=st.data())
    def one_node_moves(self, data: st.DataObject) -> None:
        """Small steps: one node goes down, or to another component."""
        node = data.draw(st.sampled_from(sorted(self.votes)), label="node")
        known = sorted({each - {node} for each in self.component.values()} | {frozenset[NodeId]()}, key=sorted)
        target = data.draw(st.sampled_from([None, *known]), label="to")
        others = [each for each in known if each != target]
        self.form(others if target is None else [*others, target | {node}])

    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        """All that live, in two components."""
        here = frozenset(node for node in self.component if data.draw(st.booleans(), label=f"node {node}"))
        self.form([here, frozenset(self.component) - here])

    @rule()
    def all_meet(self) -> None:
        self.form([frozenset(self.votes)])

    def form(self, components: list[frozenset[NodeId]]) -> None:
        components = [component for component in components if component]
        self.cluster.form(*components)
        old_components, old_verdicts = self.component, self.quorate
        self.component, self.quorate = {}, {}
        for component in components:
            verdict = self.verdict(component, old_components, old_verdicts)
            for node in component:
                self.component[node], self.quorate[node] = component, verdict

    def verdict(
        self, component: frozenset[NodeId], old: dict[NodeId, frozenset[NodeId]], verdicts: dict[NodeId, bool]
    ) -> bool:
        present = self.count(component)
        if present < self.needed:
            return False
        if not self.wait_for_all or present == self.all_votes:
            return True
        return any(verdicts.get(node) and self.count(old[node] & component) >= self.needed for node in component)

    def count(self, component: frozenset[NodeId]) -> int:
        return sum(self.votes[node] for node in component)

    @invariant()
    def same_verdicts(self) -> None:
        if hasattr(self, "cluster"):
            assert {node: each.quorate for node, each in self.cluster.nodes.items()} == self.quorate

    @invariant()
    def one_quorate_component_at_most(self) -> None:
        if hasattr(self, "cluster") and self.needed > 1:
            assert len({self.component[node] for node, quorate in self.quorate.items() if quorate}) <= 1


TestVoting = VotingMachine.TestCase
TestVoting.settings = settings(
    max_examples=150, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
