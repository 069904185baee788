"""Two cores that know the same, to be given the same input in two ways; and what each made of it."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

from totemd.ids import NodeId
from totemd.totem.api import ConfigurationChanged
from totemd.totem.core import Core
from totemd.totem.effects import RingEffect

SENDS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 60), st.booleans(), st.integers(0, 4)), max_size=25)
"""Node, packets, SAFE or not, and milliseconds until the next."""


class Recorder:
    """An upper layer that notes what it is called for, and answers as the real one would."""

    def __init__(self, waits: bool) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self._waits = waits

    def packet_delivered(self, sender: NodeId, payload: bytes) -> None:
        self.calls.append(("packet_delivered", (sender, payload)))

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        self.calls.append(("configuration_changed", (change,)))

    def token_received(self) -> None:
        self.calls.append(("token_received", ()))

    def token_sent(self) -> None:
        self.calls.append(("token_sent", ()))

    def switch_reassembly(self) -> None:
        self.calls.append(("switch_reassembly", ()))

    def waits_for_token(self) -> bool:
        return self._waits

    @property
    def events(self) -> list[tuple[str, tuple[Any, ...]]]:
        """Without the calls that may be left out where nobody waits for them."""
        return [call for call in self.calls if self._waits or call[0] not in ("token_received", "token_sent")]


def state_of(core: Core) -> dict[str, object]:
    """Everything a core knows, comparable."""
    state = {name: value for name, value in vars(core).items() if name not in ("upper", "emit", "random")}
    for name in ("window", "recovery_window"):
        window = getattr(core, name)
        state[name] = (window.items, window.released)
    state["direct"] = {name: getattr(core.direct, name) for name in core.direct.__slots__}
    return state


def twin_of(core: Core) -> tuple[Core, list[RingEffect], Recorder]:
    """A copy that shares nothing that changes, what it emits, and what it calls."""
    effects: list[RingEffect] = []
    recorder = Recorder(core.upper.waits_for_token())
    emit: Any = effects.append
    memo: dict[int, Any] = {id(core.upper): recorder, id(core.emit): emit, id(core.random): core.random}
    return copy.deepcopy(core, memo), effects, recorder


def hand_on(effects: list[Any], recorder: Recorder, emit: Any, upper: Any) -> None:
    """Have done what was only noted."""
    for effect in effects:
        emit(effect)
    for name, arguments in recorder.calls:
        getattr(upper, name)(*arguments)
