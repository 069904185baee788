"""The node's configuration after its start: what the cmap shows of it, and the file being read again."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from totemd.config.model import CmapType, Configuration
from totemd.config.reload import compare
from totemd.errors import ServiceError
from totemd.node.effects import ReadConfiguration

if TYPE_CHECKING:
    from totemd.node.node import Node

ReloadDone = Callable[[str | None], None]


class Reloads:
    """Those who wait for the file to be read, and what becomes of what was read."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._waiting: list[ReloadDone] = []

    def request(self, done: ReloadDone) -> None:
        """Have the configuration file read; `done` gets None, or why nothing changed."""
        self._waiting.append(done)
        if len(self._waiting) == 1:
            self._node.emit(ReadConfiguration())

    def read(self, configuration: Configuration | str) -> None:
        """The file as it is now, or why it cannot be used: nothing changes then."""
        done, self._waiting = self._waiting, []
        if isinstance(configuration, str):
            self._node.log("err", "CONFIG", f"the configuration was not reloaded: {configuration}")
            error: str | None = configuration
        else:
            error = self.apply(configuration)
        for callback in done:
            callback(error)

    def publish(self, configuration: Configuration) -> None:
        """The file's keys as the file has them, and the values derived from them as the daemon's own. ServiceError."""
        node, entries = self._node, configuration.entries
        node.cmap.replace_configuration({key: e for key, e in entries.items() if not key.startswith("runtime.")})
        for key, entry in entries.items():
            if key.startswith("runtime."):
                node.cmap.publish(key, entry)
        node.settings.forget()

    def is_granted(self, key: str) -> bool:
        """Whether a key of the cmap lets a user or group in."""
        entry = self._node.cmap.find(key)
        return entry is not None and entry.type is CmapType.U8 and entry.value == 1

    def apply(self, configuration: Configuration) -> str | None:
        """Have `configuration` in force from here on; or why nothing changed."""
        node = self._node
        plan = compare(node.configuration, configuration)
        for warning in plan.warnings:
            node.log("warning", "CONFIG", str(warning))
        if plan.errors:
            text = "; ".join(str(error) for error in plan.errors)
            node.log("err", "CONFIG", f"the configuration was not reloaded: {text}")
            return text
        try:
            self.publish(plan.configuration)
        except ServiceError as error:
            return str(error)
        node.configuration = plan.configuration
        node.gate.configure(plan.configuration, () if node.membership is None else node.membership.members)
        if node.sealing is not None:
            node.sealing.configure(plan.configuration)
        node.ring.set_parameters(node.ring_parameters(plan.configuration.totem))
        node.access.settings = plan.configuration.access
        if node.votequorum is not None:
            listed = plan.configuration.votes if node.changes is not None else None
            node.votequorum.reconfigure(plan.configuration.quorum, listed)
        for change in plan.effective:
            node.log("info", "CONFIG", f"reloaded {change}")
        node.log("notice", "CONFIG", f"the configuration was reloaded: {len(plan.effective)} changes")
        return None
