"""The plain visit of the token does what the full one does: the same packets, the same state, the same deliveries."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import totemd.totem.ring
from ring_twins import SENDS, Recorder, hand_on, state_of, twin_of
from totemd.ids import NodeId
from totemd.totem.core import Core
from totemd.totem.effects import RingEffect
from totemd.totem.plain import visit_plainly
from totemd.totem.token import handle_token
from totemd.wire.packets import OrfToken, decode_packet, encode_orf_token


class Comparison:
    """Stands where the ring calls `visit_plainly`, and plays each visit with the full procedure beside it."""

    def __init__(self) -> None:
        self.plain = self.with_messages = self.refused = 0

    def __call__(self, core: Core, data: bytes, sender: NodeId) -> bool:
        twin, twin_effects, twin_calls = twin_of(core)
        upper, emit = core.upper, core.emit
        effects: list[RingEffect] = []
        core.upper = recorder = Recorder(upper.waits_for_token())
        core.emit = effects.append
        before = copy.deepcopy(state_of(core))
        taken = visit_plainly(core, data, sender)
        core.upper, core.emit = upper, emit
        if not taken:
            assert state_of(core) == before
            assert not effects
            assert not recorder.calls
            self.refused += 1
            return False
        token = decode_packet(data)
        assert isinstance(token, OrfToken)
        handle_token(twin, token)
        assert effects == twin_effects
        assert recorder.events == twin_calls.events
        assert state_of(core) == state_of(twin)
        self.plain += 1
        self.with_messages += len(effects) > 1
        hand_on(effects, recorder, emit, upper)
        return True


def test_a_plain_visit_is_the_full_visit(make_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = Comparison()
    monkeypatch.setattr(totemd.totem.ring, "visit_plainly", comparison)

    @given(seed=st.integers(0, 1 << 32), nodes=st.integers(2, 4), loss=st.sampled_from([0.0, 0.0, 0.2]), sends=SENDS)
    @settings(max_examples=25, deadline=None)
    def play(seed: int, nodes: int, loss: float, sends: list[tuple[int, int, bool, int]]) -> None:
        cluster = make_cluster(nodes, seed=seed)
        cluster.start()
        assert cluster.run(30.0, cluster.formed)
        cluster.run(0.005)
        cluster.loss = loss
        for nodeid, packets, safe, pause_ms in sends:
            for number in range(packets):
                cluster.members[(nodeid - 1) % nodes + 1].send(b"%d" % number, safe=safe)
            cluster.run(pause_ms / 1000)
        cluster.loss = 0.0
        cluster.run(0.02)

    play()
    assert comparison.plain > 300
    assert comparison.with_messages > 10
    assert comparison.refused > 100


TOKEN_FIELDS = ("sender", "target", "seq", "token_seq", "aru", "aru_addr", "backlog", "fcc", "retrans_flg")


@given(
    data=st.data(),
    changes=st.dictionaries(
        st.sampled_from(TOKEN_FIELDS), st.integers(-3, 3) | st.integers(0, (1 << 31) - 1), max_size=3
    ),
    tail=st.sampled_from([b"", b"", b"", b"x"]),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_forged_token_is_treated_alike(
    make_cluster: Any, data: st.DataObject, changes: dict[str, int], tail: bytes
) -> None:
    comparison = Comparison()
    cluster = make_cluster(3, seed=data.draw(st.integers(0, 20)))
    cluster.start()
    assert cluster.run(30.0, cluster.formed)
    cluster.members[1].send(b"one")
    cluster.run(0.002)
    core = cluster.members[2].ring.core
    copied = core.token_copy
    assert copied is not None
    token = decode_packet(copied[1])
    assert isinstance(token, OrfToken)
    forged = replace(token, sender=1, token_seq=token.token_seq + 2)
    values: dict[str, Any] = {}
    for name, change in changes.items():
        values[name] = change if change > 3 else max(0, getattr(forged, name) + change)
    core.now = cluster.now
    comparison(core, encode_orf_token(replace(forged, **values)) + tail, 1)
