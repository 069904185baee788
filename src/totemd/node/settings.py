"""Configuration values that clients change in the cmap at run time, as cmap_keys(7) has them.

`totem.` timeouts and constants, `quorum.expected_votes`, `quorum.two_node` and keys under `logging.` take effect at
once; values that cannot are logged, and the old ones stay in force. `quorum.cancel_wait_for_all` and
`runtime.force_gather` are wishes, taken back once they are fulfilled. Writing to `runtime.blackbox.` has the node's
state logged.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from totemd.config import timing
from totemd.config.logs import logging_of
from totemd.config.model import CmapEntry, CmapType
from totemd.errors import ConfigError, ServiceError
from totemd.node.effects import ConfigureLogs
from totemd.node.keys import BLACKBOX_PREFIX
from totemd.services.cmap import CmapChanged

if TYPE_CHECKING:
    from totemd.node.node import Node

_DERIVED: Final = ("token_retransmit", "hold", "consensus")
TIMING_KEYS: Final = frozenset(f"totem.{key}" for key in (*timing.DEFAULTS, *_DERIVED))
QUORUM_KEYS: Final = frozenset(("quorum.expected_votes", "quorum.two_node"))
CANCEL_WAIT_FOR_ALL: Final = "quorum.cancel_wait_for_all"
FORCE_GATHER: Final = "runtime.force_gather"


class LiveSettings:
    """Listens to the node's own cmap; acts right after the input that changed it."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._changed: set[str] = set()
        node.cmap.publish(FORCE_GATHER, CmapEntry(CmapType.STRING, "no"))
        for prefix in ("totem.", "quorum.", "logging.", BLACKBOX_PREFIX):
            node.cmap.track(self, prefix, prefix=True)
        node.cmap.track(self, FORCE_GATHER)

    def push(self, event: object) -> None:
        """Note a change; services must not be called from here."""
        if isinstance(event, CmapChanged):
            self._changed.add(event.key)
            self._node.timers.set("settings", self._node.now, self._act)

    def forget(self) -> None:
        """The changes come from the configuration file, which takes effect in its own way."""
        self._changed.clear()

    def _act(self) -> None:
        changed, self._changed = self._changed, set()
        if changed & TIMING_KEYS:
            self._apply_timing()
        if changed & QUORUM_KEYS:
            self._apply_quorum()
        if CANCEL_WAIT_FOR_ALL in changed:
            self._cancel_wait_for_all()
        if FORCE_GATHER in changed:
            self._force_gather()
        if any(key.startswith("logging.") for key in changed):
            self._apply_logging()
        if any(key.startswith(BLACKBOX_PREFIX) for key in changed):
            self._log_state()

    def _number(self, key: str) -> int | None:
        entry = self._node.cmap.find(key)
        return entry.value if entry is not None and isinstance(entry.value, int) else None

    def _apply_timing(self) -> None:
        node = self._node
        raw = {
            key: value for key in (*timing.DEFAULTS, *_DERIVED) if (value := self._number(f"totem.{key}")) is not None
        }
        values = timing.derive(raw, len(node.configuration.nodes))
        problem = next(timing.problems(values, raw), None)
        if problem is not None:
            node.log("err", "CONFIG", f"totem.{problem[0]}: {problem[1]}; the values before stay in force")
            return
        before = node.configuration.totem
        after = timing.parameters(
            values,
            netmtu=before.netmtu_bytes,
            cancel_hold=before.cancel_token_hold_on_retransmit,
            direct_token=before.direct_token,
        )
        node.configuration = replace(node.configuration, totem=after)
        node.ring.set_parameters(node.ring_parameters(after))
        for key, value in values.items():
            if node.cmap.find(f"runtime.config.totem.{key}") is not None:
                node.cmap.publish(f"runtime.config.totem.{key}", CmapEntry(CmapType.U32, value))
        node.log("notice", "CONFIG", f"totem timeouts changed: token {values['token']} ms")

    def _apply_quorum(self) -> None:
        node = self._node
        if node.votequorum is None:
            return
        before = node.configuration.quorum
        expected = self._number("quorum.expected_votes")
        two_node = self._number("quorum.two_node")
        after = replace(
            before,
            expected_votes=before.expected_votes if expected is None else expected,
            two_node=before.two_node if two_node is None else bool(two_node) and len(node.configuration.nodes) == 2,
        )
        if after != before and after.expected_votes > 0:
            node.configuration = replace(node.configuration, quorum=after)
            node.votequorum.reconfigure(after)

    def _cancel_wait_for_all(self) -> None:
        node = self._node
        if node.votequorum is None or not self._number(CANCEL_WAIT_FOR_ALL):
            return
        node.cmap.publish(CANCEL_WAIT_FOR_ALL, CmapEntry(CmapType.U8, 0))
        try:
            node.votequorum.cancel_wait_for_all()
        except ServiceError as error:
            node.log("err", "VOTEQ", f"wait_for_all was not cancelled: {error}; set {CANCEL_WAIT_FOR_ALL} again")

    def _force_gather(self) -> None:
        entry = self._node.cmap.find(FORCE_GATHER)
        if entry is not None and entry.value == "no":
            return
        self._node.cmap.publish(FORCE_GATHER, CmapEntry(CmapType.STRING, "no"))
        self._node.ring.gather_again("a new membership was asked for (runtime.force_gather)", self._node.now)

    def _apply_logging(self) -> None:
        node = self._node
        try:
            settings = logging_of(dict(node.cmap.walk("logging.")))
        except ConfigError as error:
            node.log("err", "CONFIG", f"{error}; the log is written as before")
            return
        if settings != node.configuration.logging:
            node.configuration = replace(node.configuration, logging=settings)
            node.emit(ConfigureLogs(settings))
            node.log("notice", "CONFIG", "the log is written by the cmap's new keys")

    def _log_state(self) -> None:
        """There is no flight recorder: what it would tell is in the log, and the rest is said now."""
        for section, values in (("status", self._node.status()), ("statistics", self._node.stats())):
            for name, value in values.items():
                self._node.log("notice", "MAIN", f"{section}: {name}: {value}")
