"""What people are told of handshakes: in few lines, whoever sends how much."""

from collections.abc import Callable
from math import inf
from typing import Final

from totemd.errors import printable
from totemd.seal.limiter import Limiter
from totemd.seal.peers import Peer, Session
from totemd.seal.verdict import Verdict

TOLD_AGAIN_S: Final = 60.0
"""Between two lines about the same refusal."""


class Telling:
    """Writes the lines. `log` is given a level and a line."""

    def __init__(self, log: Callable[[str, str], None]) -> None:
        self._log = log
        self._lines = Limiter(1, 100)

    def admitted(self, session: Session, now: float) -> None:
        """A node is admitted here."""
        if self._lines.allow(now):
            self._log("info", f"{who(session)} is admitted")

    def refused(self, peer: Peer, verdict: Verdict, what: str, now: float, *, here: bool) -> None:
        """A node is refused, `here` or there; now and then."""
        assert verdict.reason is not None
        last_s = peer.told.get((verdict.reason, here), -inf)
        if now - last_s >= TOLD_AGAIN_S and self._lines.allow(now):
            peer.told[verdict.reason, here] = now
            self._log("warning", printable(f"{what} ({verdict.reason}): {verdict.text}; {verdict.remedy}"))


def who(session: Session) -> str:
    """The node, for people."""
    name = printable(session.credentials.name)
    return f"node {session.nodeid} ({name})" if name else f"node {session.nodeid}"
