"""How a node that was away gets the configuration that the cluster has by now (protocol/, chapter "Replicated
configuration", section "Catching up").

    stale node                                   member
        FETCH(nonce, version, 0)        ---->
                                        <----    PIECE(nonce, 0..7 of n)
        FETCH(nonce, version, 8)        ---->
                                        <----    PIECE(nonce, 8..n-1 of n)

What is carried (`totemd.cluster.handover`) is sealed with the member's own key for the stale node's own key: knowing
the cluster's key is not enough to make it or to read it. The nonce is part of it, so that an old answer answers no new
question. The messages are bodies of the seal's control datagrams, which pass between nodes that have shown who they are
and differ in the version alone.
"""

from collections.abc import Callable
from math import inf
from struct import Struct
from typing import Final, Protocol

from totemd.cluster.handover import PARCEL_SIZE_MAX, Handover, unwrap, wrap
from totemd.cluster.identity import Identity
from totemd.errors import BadPacket
from totemd.ids import NodeId
from totemd.seal.limiter import Limiter

FETCH: Final = 1
PIECE: Final = 2
NOTHING: Final = 3

NONCE_SIZE: Final = 16
PIECE_SIZE: Final = 1100
"""Bytes of the parcel in one message."""

WINDOW_PIECES: Final = 8
"""Pieces that answer one FETCH."""

ANSWER_S: Final = 0.3
"""After which a FETCH is repeated."""

TRIES_MAX: Final = 10
"""Repetitions without a new piece, after which another member is asked."""

FETCH_MAX_S: Final = 30.0
"""For how long a member may keep us waiting for the rest, piece by piece."""

PAUSE_S: Final = 2.0
"""After all members were asked in vain."""

CANDIDATES_MAX: Final = 64
SERVED_MAX: Final = 16
"""Nodes that are answered at a time."""

NEW_PARCEL_S: Final = 0.5
"""How often one node may have a new parcel: making one costs more than asking for it."""

PARCELS_PER_S: Final = 10
"""To all nodes together, after the first SERVED_MAX."""

PIECES_PER_S: Final = 200.0
BURST_PIECES: Final = 64
"""To one node: what it asks for must not fill the network."""

_HEAD: Final = Struct("<B16s")
_FETCH: Final = Struct("<B16sQI")
_PIECE: Final = Struct("<B16sII")

_CONTEXT: Final = b"totemd catching up"


class Surroundings(Protocol):
    """What the state machine needs of the node."""

    @property
    def version(self) -> int:
        """Of the configuration in force."""

    def send(self, nodeid: NodeId, body: bytes) -> None:
        """Say `body` to a node; it may be lost."""

    def public_key(self, nodeid: NodeId) -> bytes | None:
        """A node's, as this node's configuration lists it."""

    def handover(self) -> Handover | None:
        """What this node has to hand over; None: nothing that is committed."""

    def take(self, nodeid: NodeId, handed: Handover) -> int:
        """A member handed this over. Nothing but that it comes from there is checked. Gives the version in it that is
        to be in force, 0 if there is none."""

    def log(self, level: str, text: str) -> None: ...


class CatchUp:
    """Both sides, for one node. `identity` None: this cluster's nodes have no keys of their own, so what the seal says
    of the sender must do, and no keys are handed over."""

    def __init__(
        self,
        surroundings: Surroundings,
        *,
        cluster_id: bytes,
        nodeid: NodeId,
        identity: Identity | None,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._around = surroundings
        self._cluster_id = cluster_id
        self._nodeid = nodeid
        self._identity = identity
        self._random_bytes = random_bytes
        self._server = _Server(self)
        self._candidates: dict[NodeId, int] = {}
        """Members that have shown a newer version than ours."""
        self._asked: set[NodeId] = set()
        self._told: tuple[NodeId, int] | None = None
        self._fetch: _Fetch | None = None
        self._deadline = inf

    @property
    def fetching_from(self) -> NodeId | None:
        """Which member is being asked."""
        return None if self._fetch is None else self._fetch.source

    def behind(self, nodeid: NodeId, version: int, now: float) -> None:
        """A node has shown, or said, that it has the newer configuration `version`."""
        if not self._can_trust(nodeid):
            return
        if nodeid not in self._candidates and len(self._candidates) >= CANDIDATES_MAX:
            return
        self._candidates[nodeid] = max(version, self._candidates.get(nodeid, 0))
        if self._fetch is None and self._deadline == inf:
            self._deadline = now

    def next_deadline(self) -> float:
        """When `handle_timer` has something to do."""
        return self._deadline

    def handle_timer(self, now: float) -> None:
        """Ask, ask again, or ask somebody else."""
        if now < self._deadline:
            return
        fetch = self._fetch
        if fetch is not None and fetch.tries < TRIES_MAX:
            fetch.tries += 1
            self._ask(fetch, now)
            return
        self._begin(now)

    def hear(self, nodeid: NodeId, body: bytes, now: float) -> None:
        """A body that another node said. BadPacket if it is none of these messages."""
        if len(body) < _HEAD.size:
            raise BadPacket("catch-up message truncated", f"{len(body)} bytes")
        kind, nonce = _HEAD.unpack_from(body)
        if kind == FETCH:
            _, _, version, offset = _fields(_FETCH, body)
            self._server.answer(nodeid, nonce, version, offset, now)
        elif kind == PIECE:
            _, _, total, offset = _fields(_PIECE, body)
            self._piece(nodeid, nonce, total, offset, body[_PIECE.size :], now)
        elif kind == NOTHING:
            if self._fetch is not None and (self._fetch.source, self._fetch.nonce) == (nodeid, nonce):
                self._candidates.pop(nodeid, None)
                self._begin(now)
        else:
            raise BadPacket("catch-up message unknown", str(kind))

    # Asking

    def _begin(self, now: float) -> None:
        """Ask the next member that has something newer; when all were asked, begin anew after a while."""
        mine = self._around.version
        self._fetch = None
        self._candidates = {nodeid: version for nodeid, version in self._candidates.items() if version > mine}
        left = [nodeid for nodeid in self._candidates if nodeid not in self._asked and self._can_trust(nodeid)]
        if not left:
            self._asked.clear()
            self._deadline = now + PAUSE_S if self._candidates else inf
            return
        source = max(left, key=lambda nodeid: (self._candidates[nodeid], -nodeid))
        self._asked.add(source)
        self._fetch = _Fetch(source, self._random_bytes(NONCE_SIZE), now + FETCH_MAX_S)
        if self._told != (source, mine):
            self._told = (source, mine)
            self._around.log(
                "notice", f"version {mine} of the configuration is old; node {source} is asked for the new"
            )
        self._ask(self._fetch, now)

    def _can_trust(self, nodeid: NodeId) -> bool:
        """Whether what that node hands over could be told from a forgery, as far as this cluster can at all."""
        return self._identity is None or self._around.public_key(nodeid) is not None

    def _ask(self, fetch: "_Fetch", now: float) -> None:
        self._deadline = now + ANSWER_S
        body = _FETCH.pack(FETCH, fetch.nonce, self._around.version, fetch.first_missing())
        self._around.send(fetch.source, body)

    def _piece(self, nodeid: NodeId, nonce: bytes, total: int, offset: int, data: bytes, now: float) -> None:
        fetch = self._fetch
        if fetch is None or (nodeid, nonce) != (fetch.source, fetch.nonce) or not fetch.take(total, offset, data):
            return
        if now < fetch.until:
            fetch.tries = 0
        if fetch.first_missing() < total:
            if fetch.window_done():
                self._ask(fetch, now)
            return
        self._fetch = None
        self._deadline = now + PAUSE_S
        try:
            context = self._context(nonce, self._nodeid)
            handed = unwrap(fetch.whole(), self._identity, self._around.public_key(nodeid), context)
        except BadPacket as problem:
            self._around.log("warning", f"what node {nodeid} handed over cannot be used: {problem}")
            self._begin(now)
            return
        # If that is not in force after a while it is asked for again.
        self._candidates[nodeid] = self._around.take(nodeid, handed)

    # Answering

    def parcel(self, nodeid: NodeId, nonce: bytes, version: int) -> bytes | None:
        """All that a node that has `version` is to get; None: nothing."""
        handed = self._around.handover()
        # Who asks for the version that it has was told that it is stale all the same: it lacks the keys.
        if handed is None or self._around.version < version:
            return None
        public_key = self._around.public_key(nodeid)
        if self._identity is not None and public_key is None:
            # Nothing leaves in the open where nodes have keys of their own.
            return None
        try:
            return wrap(handed, self._identity, public_key, self._context(nonce, nodeid), self._random_bytes)
        except (BadPacket, ValueError) as problem:
            self._around.log("err", f"node {nodeid} cannot be handed the configuration: {problem}")
            return None

    def _context(self, nonce: bytes, asker: NodeId) -> bytes:
        return _CONTEXT + self._cluster_id + nonce + asker.to_bytes(4, "little")

    def send(self, nodeid: NodeId, body: bytes) -> None:
        """For the server."""
        self._around.send(nodeid, body)


class _Fetch:
    """One member being asked: what has come of its answer."""

    def __init__(self, source: NodeId, nonce: bytes, until: float) -> None:
        self.source = source
        self.until = until
        """From then on new pieces do not keep it from being given up."""
        self.nonce = nonce
        self.tries = 0
        self._total = 0
        self._pieces: dict[int, bytes] = {}
        self._asked_from = 0

    def take(self, total: int, offset: int, data: bytes) -> bool:
        """Keep a piece; False if it is none of this parcel, or was here before."""
        if not 0 < total <= PARCEL_SIZE_MAX or (self._total and total != self._total):
            return False
        if offset % PIECE_SIZE or offset in self._pieces or len(data) != min(PIECE_SIZE, total - offset):
            return False
        self._total = total
        self._pieces[offset] = data
        return True

    def first_missing(self) -> int:
        """Where the first piece that is missing begins; the end, if there is none."""
        offset = 0
        while offset in self._pieces:
            offset += len(self._pieces[offset])
        return offset

    def window_done(self) -> bool:
        """Whether all has come that was asked for last."""
        if self.first_missing() < min(self._asked_from + WINDOW_PIECES * PIECE_SIZE, self._total):
            return False
        self._asked_from = self.first_missing()
        return True

    def whole(self) -> bytes:
        return b"".join(self._pieces[offset] for offset in sorted(self._pieces))


class _Served:
    """One node that asks."""

    def __init__(self, nonce: bytes, parcel: bytes | None, now: float) -> None:
        self.nonce = nonce
        self.parcel = parcel
        self.made_at = now
        self.credit = float(BURST_PIECES)
        self.credit_at = now


class _Server:
    """Answers nodes that ask, each at a bounded rate."""

    def __init__(self, catch_up: CatchUp) -> None:
        self._catch_up = catch_up
        self._served: dict[NodeId, _Served] = {}
        self._parcels = Limiter(PARCELS_PER_S, SERVED_MAX)

    def answer(self, nodeid: NodeId, nonce: bytes, version: int, offset: int, now: float) -> None:
        served = self._served.get(nodeid)
        if served is None or served.nonce != nonce:
            if served is not None and now - served.made_at < NEW_PARCEL_S:
                return
            if not self._parcels.allow(now):
                return
            served = _Served(nonce, self._catch_up.parcel(nodeid, nonce, version), now)
            self._served.pop(nodeid, None)
            self._served[nodeid] = served
            if len(self._served) > SERVED_MAX:
                del self._served[next(iter(self._served))]
        if served.parcel is None:
            if _spend(served, now):
                self._catch_up.send(nodeid, _HEAD.pack(NOTHING, nonce))
            return
        start = offset - offset % PIECE_SIZE
        for at in range(start, min(start + WINDOW_PIECES * PIECE_SIZE, len(served.parcel)), PIECE_SIZE):
            if not _spend(served, now):
                return
            head = _PIECE.pack(PIECE, nonce, len(served.parcel), at)
            self._catch_up.send(nodeid, head + served.parcel[at : at + PIECE_SIZE])


def _spend(served: _Served, now: float) -> bool:
    """Whether one more datagram may go to this node now."""
    earned = (now - served.credit_at) * PIECES_PER_S
    served.credit = min(float(BURST_PIECES), served.credit + earned)
    served.credit_at = now
    if served.credit < 1.0:
        return False
    served.credit -= 1.0
    return True


def _fields(struct: Struct, body: bytes) -> tuple[int, bytes, int, int]:
    if len(body) < struct.size:
        raise BadPacket("catch-up message truncated", f"{len(body)} bytes")
    kind, nonce, one, two = struct.unpack_from(body)
    return kind, nonce, one, two
