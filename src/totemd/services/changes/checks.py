"""Dry runs: every member says whether a text would do, and nothing changes."""

from collections.abc import Callable
from typing import Final

from totemd.cluster.change import IDENT_SIZE, TEXT_MAX_BYTES, clipped
from totemd.errors import BadPacket
from totemd.ids import NodeId, RingId
from totemd.services.base import Host
from totemd.services.changes.api import Outcome, OutcomeDone
from totemd.wire.changes import ChangesMessage, Check, Checked

ASKED_MAX: Final = 16
"""Dry runs of this node at once, and questions of others that are being looked into."""

PATIENCE_S: Final = 10.0


class Checks:
    """This node's dry runs, and its answers to those of others. `send` takes a message, `examine` has a text looked at
    and calls back with what is wrong with it, "" for nothing."""

    def __init__(
        self,
        host: Host,
        send: Callable[[ChangesMessage], None],
        examine: Callable[[bytes, str, Callable[[str], None]], None],
    ) -> None:
        self._host = host
        self._send = send
        self._examine = examine
        self._ring: RingId | None = None
        self._members: tuple[NodeId, ...] = ()
        self._asked: dict[bytes, tuple[float, dict[NodeId, str], OutcomeDone]] = {}
        self._counter = 0
        self._under_way = 0

    @property
    def waiting(self) -> bool:
        """Whether the clock matters."""
        return bool(self._asked)

    def ask(self, text: str, done: OutcomeDone) -> None:
        """Have all members look at `text`."""
        if len(text.encode()) > TEXT_MAX_BYTES:
            done(Outcome(False, why=f"the text has more than {TEXT_MAX_BYTES} bytes"))
        elif self._ring is None or self._host.sync_in_progress:
            done(Outcome(False, why="the ring is synchronizing; try again", again=True))
        elif len(self._asked) >= ASKED_MAX:
            done(Outcome(False, why="too many texts are being checked; try again", again=True))
        else:
            self._counter += 1
            ident = self._host.nodeid.to_bytes(8, "big") + self._counter.to_bytes(IDENT_SIZE - 8, "big")
            self._asked[ident] = (self._host.now + PATIENCE_S, {}, done)
            self._send(Check(self._ring, ident, text.encode()))

    def enter(self, ring: RingId, members: tuple[NodeId, ...]) -> None:
        """A new ring: what was asked in the last one is void."""
        self._ring, self._members = ring, members
        asked, self._asked = self._asked, {}
        for _, _, done in asked.values():
            done(Outcome(False, why="the membership changed meanwhile; try again", again=True))

    def asked(self, message: Check) -> None:
        """Somebody asks."""
        try:
            if len(message.data) > TEXT_MAX_BYTES:
                raise BadPacket("changes text too long", f"{len(message.data)} bytes")
            text = message.data.decode()
        except UnicodeDecodeError:
            raise BadPacket("changes text is not UTF-8") from None
        if self._under_way >= ASKED_MAX:
            self._send(Checked(message.ring, message.ident, "too many texts are being checked here; try again"))
            return
        self._under_way += 1

        def examined(reason: str) -> None:
            self._under_way -= 1
            if message.ring == self._ring:
                self._send(Checked(message.ring, message.ident, clipped(reason)))

        self._examine(message.ident, text, examined)

    def answered(self, sender: NodeId, message: Checked) -> None:
        """A member's answer."""
        entry = self._asked.get(message.ident)
        if entry is None:
            return
        _, answers, done = entry
        answers[sender] = clipped(message.reason)
        if len(answers) == len(self._members):
            del self._asked[message.ident]
            self._tell(answers, done)

    def look(self) -> None:
        """Time has passed."""
        for ident, (deadline, answers, done) in list(self._asked.items()):
            if deadline <= self._host.now:
                del self._asked[ident]
                missing = {nodeid: "has not answered" for nodeid in self._members if nodeid not in answers}
                self._tell({**answers, **missing}, done)

    def _tell(self, answers: dict[NodeId, str], done: OutcomeDone) -> None:
        reasons = {nodeid: reason for nodeid, reason in sorted(answers.items()) if reason}
        done(Outcome(not reasons, reasons=reasons))
