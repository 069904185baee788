"""How a node's life ends: with a farewell to the ring and to clients, or at once."""

from typing import TYPE_CHECKING, Final

from totemd.node.effects import Exit

if TYPE_CHECKING:
    from totemd.node.node import Node

LEAVE_PATIENCE_S: Final = 0.5
"""How long a clean shutdown waits for its farewell to the voters to be ordered."""


class Ending:
    """Ends a node once, however many ask for it."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._leaving = False
        self.ended = False

    def shut_down(self, reason: str, *, status: int = 0, at_once: bool = False) -> None:
        """End: cleanly, with a leave, or `at_once` without a word to the ring."""
        node = self._node
        if self.ended:
            return
        if at_once:
            self.end(reason, status, leave=False)
        elif node.votequorum is None or not node.configuration.quorum.allow_downscale or self._leaving:
            self.end(reason, status, leave=True)
        else:
            # Voters who may lower the quorum when we go must hear it from us first.
            self._leaving = True
            node.votequorum.leaving()
            node.timers.set("leave", node.now + LEAVE_PATIENCE_S, lambda: self.end(reason, status, leave=True))

    def end(self, reason: str, status: int, *, leave: bool) -> None:
        """It is over: clients are told, and an Exit effect follows."""
        node = self._node
        if self.ended:
            return
        self.ended = True
        node.served = False
        node.log("notice" if status == 0 else "err", "MAIN", f"stopping: {reason}")
        for session in node.sessions:
            session.close(f"the daemon stops: {reason}")
        if leave:
            node.ring.leave(node.now)
        else:
            node.ring.abandon()
        node.emit(Exit(status, reason))
