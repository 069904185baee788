"""The service "changes" under everything that can happen to it: one history, one version in a component (chapter
"Replicated configuration"). Nodes crash between any two things they do, disks are held up, rings break in the middle of
attempts and of synchronization, and clients go on proposing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from changes_histories import CUTS, NODES, Histories

_node = st.sampled_from(NODES)
_steps = st.integers(0, 40)
_partition = st.lists(st.integers(0, 2), min_size=len(NODES), max_size=len(NODES))
ACTION = st.one_of(
    st.tuples(st.just("form"), _partition, st.integers(0, 3)),
    st.tuples(st.just("edit"), _node, st.integers(1000, 9000)),
    st.tuples(st.just("vote"), _node, _node, st.integers(0, 2)),
    st.tuples(st.just("crash"), _node),
    st.tuples(st.just("hold"), _node),
    st.tuples(st.just("cut"), st.sampled_from(CUTS), _partition, st.lists(_node, max_size=2), st.integers(0, 4)),
    st.tuples(st.just("release"), _node),
    st.tuples(st.just("refuse"), _node),
    st.tuples(st.just("turns"), st.lists(_node, max_size=60)),
    st.tuples(st.just("steps"), _steps),
    st.tuples(st.just("wait"), st.sampled_from((1.0, 12.0, 40.0))),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(ACTION, max_size=30))
def test_there_is_one_history(actions: list[tuple[object, ...]]) -> None:
    histories = Histories()
    histories.cluster.ring.form(set(NODES))
    histories.do_steps(30)
    for action in actions:
        histories.play(action)
    histories.end()
