"""No key is ever used with the same nonce twice, whatever restarts and whatever keys come and go."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealed_nodes import KEY, Air, SealedNode
from totemd.ids import NodeId
from totemd.seal import Key, KeyRing, new_key
from totemd.seal import suite as suite_module

actions = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(1, 2)),
        st.tuples(st.just("restart"), st.integers(1, 2)),
        st.tuples(st.just("key"), st.integers(0, 3)),
        st.tuples(st.just("accept"), st.integers(0, 3)),
        st.tuples(st.just("body"), st.integers(1, 2)),
        st.tuples(st.just("wait"), st.integers(1, 3)),
    ),
    max_size=40,
)


class Recorder:
    """Stands in the place of a cipher; remembers under which key which nonce was used."""

    used: set[tuple[bytes, bytes]]

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        assert len(nonce) == 12
        assert (self._key, nonce) not in Recorder.used
        Recorder.used.add((self._key, nonce))
        return data + self._key[:16]

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        if data[-16:] != self._key[:16]:
            raise ValueError
        return data[:-16]


def install(patch: pytest.MonkeyPatch) -> None:
    original = suite_module.Suite.__init__

    def init(suite: suite_module.Suite, name: str, cluster_id: bytes) -> None:
        original(suite, name, cluster_id)
        suite._make = Recorder  # type: ignore[assignment]  # a cipher of the test's own

    patch.setattr(suite_module.Suite, "__init__", init)


@given(actions)
@settings(max_examples=80)
def test_no_key_meets_a_nonce_twice(steps: list[tuple[str, int]]) -> None:
    Recorder.used = set()
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        air = Air()
        pool = [KEY, *(new_key(Random(number).randbytes) for number in range(3))]
        nodes = {nodeid: air.node(nodeid) for nodeid in (1, 2)}
        for what, number in steps:
            _act(air, nodes, pool, what, number)
    assert Recorder.used


def _act(air: Air, nodes: dict[NodeId, SealedNode], pool: list[Key], what: str, number: int) -> None:
    if what == "say":
        air.say(nodes[number], b"packet")
    elif what == "restart":
        air.nodes.remove(nodes[number])
        nodes[number] = air.node(number, keys=nodes[number].seal.keys)
    elif what == "key":
        for node in nodes.values():
            node.seal.set_keys(KeyRing(pool[number], tuple(key for key in pool if key is not pool[number])))
    elif what == "accept":
        nodes[1].seal.accept_key(pool[number])
    elif what == "body":
        nodes[number].seal.send_control(3 - number, b"body")
        air.settle()
    else:
        air.wait(number / 4)
