"""What a seal remembers of other nodes: their sessions, and who has been asked. Bounded, whoever sends."""

from collections.abc import Iterator
from math import inf
from typing import Final

from totemd.ids import NodeId
from totemd.seal.limiter import Limiter
from totemd.seal.messages import Credentials
from totemd.seal.suite import Aead
from totemd.seal.verdict import Reason, Verdict
from totemd.seal.window import Window

PEERS_MAX: Final = 512
"""Nodes that are remembered: more than a ring can have. Whoever has no session goes first."""


class Session:
    """One boot of a node that has answered a challenge."""

    __slots__ = ("credentials", "ident", "key_ident", "nodeid", "openers", "verdict", "window")

    def __init__(
        self, nodeid: NodeId, ident: bytes, credentials: Credentials, verdict: Verdict, key_ident: bytes, counter: int
    ) -> None:
        self.nodeid = nodeid
        self.ident = ident
        self.credentials = credentials
        self.verdict = verdict
        self.key_ident = key_ident
        """Under which it has answered last: what is said to it is sealed under the same."""
        self.window = Window(counter)
        self.openers: dict[tuple[bytes, bool], Aead] = {}
        """By the key's ident, and whether it is for datagrams to this node alone."""


class Dealings:
    """What was said to and by one node under keys of one class: those in use, or the retired ones. They are apart, so
    that who has an old key, or a recording under one, can neither crowd out nor speak for who has a new one."""

    __slots__ = ("answered", "answers_to_known", "answers_to_unknown", "asked_s", "asks", "limited", "made_s", "nonce",
                 "refused")  # fmt: skip

    def __init__(self) -> None:
        self.nonce: bytes | None = None
        """Of our challenge that may still be answered."""
        self.made_s = -inf
        self.asked_s = -inf
        self.asks = Limiter(10, 4)
        """Challenges to a node of which an unknown session is heard: the first one may get lost, or be caused by a
        recording."""
        self.refused = b""
        """The session that was refused last: it is asked again, but seldom."""
        self.limited: Session | None = None
        """Refused, but may catch up: only control messages count."""
        self.answered: list[bytes] = []
        """The last challenges to us; a ruling has to name one of them."""
        self.answers_to_known = Limiter(50, 20)
        self.answers_to_unknown = Limiter(20, 8)


class Peer:
    """One node id."""

    __slots__ = ("candidate", "candidate_nonce", "candidate_until_s", "dealings", "full", "nodeid", "probe_at_s",
                 "shunned_until_s", "talking", "told")  # fmt: skip

    def __init__(self, nodeid: NodeId) -> None:
        self.nodeid = nodeid
        self.full: Session | None = None
        """Admitted: its packets count."""
        self.candidate: Session | None = None
        """Takes the place of `full` unless that shows until `candidate_until_s` that it is alive."""
        self.candidate_nonce = b""
        self.candidate_until_s = inf
        self.probe_at_s = inf
        self.dealings = (Dealings(), Dealings())
        """Under keys in use, under retired ones."""
        self.shunned_until_s = -inf
        """Until then its packets do not count because it has refused this node."""
        self.talking: Session | None = None
        """Which of its sessions spoke last: a body for the node goes there."""
        self.told: dict[tuple[Reason, bool], float] = {}
        """When what was last logged of this node, about its refusal here (True) or ours there (False)."""

    def session(self, ident: bytes, retired: bool) -> Session | None:
        """The session with that ident that such a key may speak for; a candidate is none yet."""
        full = self.full
        if full is not None and not retired and full.ident == ident:
            return full
        limited = self.dealings[retired].limited
        return limited if limited is not None and limited.ident == ident else None

    def sessions(self) -> list[Session]:
        """All that control messages may come from."""
        found = (self.full, self.dealings[False].limited, self.dealings[True].limited)
        return [session for session in found if session is not None]


class Peers:
    """All nodes that were heard of under some key of ours."""

    def __init__(self) -> None:
        self._peers: dict[NodeId, Peer] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def get(self, nodeid: NodeId) -> Peer | None:
        """The node, if it is remembered."""
        return self._peers.get(nodeid)

    def remember(self, nodeid: NodeId) -> Peer | None:
        """The node, from now on remembered; None if there are too many that have sessions."""
        peer = self._peers.get(nodeid)
        if peer is None:
            if len(self._peers) >= PEERS_MAX and not self._make_room():
                return None
            peer = self._peers[nodeid] = Peer(nodeid)
        return peer

    def forget(self, nodeid: NodeId) -> None:
        """Remember nothing of the node."""
        self._peers.pop(nodeid, None)

    def _make_room(self) -> bool:
        """Forget who was first heard of longest ago among those without an admitted session."""
        for nodeid, peer in self._peers.items():
            if peer.full is None:
                del self._peers[nodeid]
                return True
        return False
