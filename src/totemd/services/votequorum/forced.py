"""Expected votes that the operator forces for a while, so that the nodes that are left have quorum.

All present members know of it and tell those who come, so that whoever is left goes back to the configured number: when
the time is over, or when a node that was away has come back and those present have quorum without force (protocol/,
chapter "Services").
"""

from collections.abc import Callable
from math import ceil
from typing import Final, Protocol

from totemd.ids import NodeId
from totemd.record import record
from totemd.services.base import Host
from totemd.services.votequorum.electorate import Electorate
from totemd.wire.votequorum import (
    RECONFIGURE_EXPECTED_VOTES,
    RECONFIGURE_FORCED,
    Reconfigure,
    encode_reconfigure,
)

FORCED_S_MAX: Final = 86_400
"""A day; what must hold for longer belongs into the configuration."""

TIMER: Final = "votequorum.forced"
_AGAIN_S: Final = 2.0
"""After so long the end is announced again, should its message be lost in a change of the ring."""
_TURN_S: Final = 0.2
"""Members announce the end one after the other: mostly the first one's message is the only one."""


@record
class Forced:
    """For status: the votes that are expected now and those of the configuration, and for how long."""

    votes: int
    configured: int
    seconds_left: float


class Owner(Protocol):
    """What this needs of the service."""

    @property
    def electorate(self) -> Electorate: ...

    def send(self, kind: str, build: Callable[[], bytes]) -> None:
        """Multicast what `build` gives as soon as there is room; the newest of a kind only."""


class ForcedExpectation:
    """Whether expected votes are forced, since which membership and until when."""

    def __init__(self, host: Host, owner: Owner) -> None:
        self._host = host
        self._owner = owner
        self._until: float | None = None
        self._lowered = True
        self._companions: frozenset[NodeId] = frozenset()
        """The members when the votes were forced; another one is a node that has come back."""
        self._echo: tuple[NodeId, int] | None = None
        """Who forces how many votes, and says so once more for members that are corosync."""
        self._heard_s: int | None = None
        """What members that come from elsewhere say in this synchronization: the least."""

    @property
    def now(self) -> Forced | None:
        """None: what is expected is not forced."""
        if self._until is None:
            return None
        electorate = self._owner.electorate
        left_s = max(0.0, self._until - self._host.now)
        return Forced(electorate.own.expected_votes, electorate.settings.expected_votes, left_s)

    def expected_votes_set(self, sender: NodeId, votes: int) -> None:
        """RECONFIGURE has set the expected votes until further notice, unless it repeats what was forced."""
        echo, self._echo = self._echo, None
        if echo != (sender, votes):
            self._end(f"{votes} votes were set")

    def forced(self, sender: NodeId, votes: int, seconds: int) -> None:
        """RECONFIGURE forced, once its votes are in force; 0 votes: the sender's are forced for so much longer."""
        seconds = min(seconds, FORCED_S_MAX)
        electorate = self._owner.electorate
        if votes == 0:
            if self._host.sync_in_progress:
                self._heard_s = seconds if self._heard_s is None else min(seconds, self._heard_s)
        elif electorate.own.expected_votes == electorate.settings.expected_votes:
            self._end("as many votes are expected as configured")
        else:
            self._echo = sender, votes
            self._begin(seconds, electorate)

    def announcement(self) -> bytes | None:
        """What the other members must know when a configuration begins."""
        self._heard_s = None
        if self._until is None:
            return None
        left_s = min(FORCED_S_MAX, max(1, ceil(self._until - self._host.now)))
        return encode_reconfigure(Reconfigure(0, left_s, RECONFIGURE_FORCED))

    def activated(self) -> None:
        """Synchronization is complete."""
        electorate, heard_s, self._heard_s = self._owner.electorate, self._heard_s, None
        if self._until is None and heard_s is not None and not _agrees(electorate, lowered=True):
            self._begin(heard_s, electorate)
        elif self._until is not None and self._lowered and set(electorate.members) - self._companions:
            self._somebody_came(electorate)
        self.check()

    def check(self) -> None:
        """To be called when the expected votes, or the configured ones, may have changed."""
        if self._until is not None and _agrees(self._owner.electorate, lowered=self._lowered):
            self._end("no fewer votes are expected than configured")

    def outlives(self, configured: int) -> bool:
        """Whether what is forced stays so when so many votes are configured."""
        if self._until is None:
            return False
        expected = self._owner.electorate.own.expected_votes
        return expected < configured if self._lowered else expected > configured

    def _begin(self, seconds: int, electorate: Electorate) -> None:
        expected, configured = electorate.own.expected_votes, electorate.settings.expected_votes
        self._until = self._host.now + seconds
        self._lowered = expected < configured
        self._companions = frozenset(electorate.members)
        text = f"{expected} votes are expected instead of {configured}, by force, for {seconds} s"
        risk = "; nodes that are elsewhere may have quorum as well" if self._lowered else ""
        self._host.log("warning", text + risk)
        self._end_in(seconds)

    def _end(self, why: str) -> None:
        if self._until is not None:
            self._until = self._echo = None
            self._host.cancel_timer(TIMER)
            self._host.log("notice", f"expected votes are not forced any more: {why}")

    def _somebody_came(self, electorate: Electorate) -> None:
        total = sum(voter.votes for voter in electorate.present())
        if total >= electorate.settings.expected_votes // 2 + 1:
            self._host.log("notice", "a node has come back, and there is quorum without force")
            self._end_in(0)

    def _end_in(self, seconds: float) -> None:
        members = self._owner.electorate.members
        turn = members.index(self._host.nodeid) if self._host.nodeid in members else 0
        self._host.set_timer(TIMER, seconds + turn * _TURN_S, self._revert)

    def _revert(self) -> None:
        self._host.set_timer(TIMER, _AGAIN_S, self._revert)
        if not self._host.sync_in_progress:
            self._owner.send("forced", self._back)

    def _back(self) -> bytes:
        configured = self._owner.electorate.settings.expected_votes
        return encode_reconfigure(Reconfigure(self._host.nodeid, configured, RECONFIGURE_EXPECTED_VOTES))


def _agrees(electorate: Electorate, *, lowered: bool) -> bool:
    expected, configured = electorate.own.expected_votes, electorate.settings.expected_votes
    return expected >= configured if lowered else expected <= configured
