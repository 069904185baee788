"""Who may talk: challenges, responses, rulings (chapter "Sealed datagrams", sections "The handshake", "Admission").

A session counts only once it has answered a fresh challenge and the judge has admitted it. Challenges go to a node, not
to a session, so recordings of old sessions cannot crowd out the one that is alive: whoever is there answers.
"""

from collections import Counter
from collections.abc import Callable, Collection
from math import inf
from typing import Final, Protocol

from totemd.errors import printable
from totemd.ids import NodeId
from totemd.seal.datagram import Header
from totemd.seal.limiter import Limiter
from totemd.seal.messages import NONCE_SIZE, Body, Challenge, Credentials, Hello, Message, Response, Ruling
from totemd.seal.peers import Dealings, Peer, Peers, Session
from totemd.seal.telling import Telling, who
from totemd.seal.verdict import Reason, Verdict, refused

ASK_REFUSED_INTERVAL_S: Final = 1.0
"""Between two challenges to a node whose session was refused before: its configuration or ours may have changed."""
NONCE_LIFE_S: Final = 2.0
"""How long a challenge may be answered."""
TAKEOVER_S: Final = 0.3
"""How long an admitted session has to show that it is alive when another one of its node turns up."""
PROBE_INTERVAL_S: Final = 0.06
"""Between the challenges meanwhile: a lost one must not cost a live session its place."""
NONCES_ANSWERED: Final = 4
SHUNNED_S: Final = 5.0
"""How long after a refusal the packets of who refuses us do not count here either: a ring that only one side hears
would never settle. Who changes its mind says so."""


class Surroundings(Protocol):
    """What a handshake needs of its seal."""

    def send_message(self, target: NodeId | None, message: Message, key_ident: bytes) -> None:
        """Seal it under that key and have it sent to the node, or to all."""

    def sending_key(self) -> bytes:
        """The ident of the key that the ring's packets are sealed with."""

    def session_lost(self, session: Session) -> None:
        """Its packets do not count any more."""


class Handshake:
    """The part of a seal that decides which sessions there are."""

    def __init__(
        self,
        surroundings: Surroundings,
        session: bytes,
        cluster_id: bytes,
        credentials: Callable[[], Credentials],
        judge: Callable[[Credentials], Verdict],
        random_bytes: Callable[[int], bytes],
        log: Callable[[str, str], None],
        counters: Counter[str],
    ) -> None:
        self.peers = Peers()
        self.on_refused: Callable[[NodeId, Verdict], None] = _ignore_refusal
        self.on_judged: Callable[[NodeId, Credentials, Verdict], None] = _ignore_judgement
        self._surroundings = surroundings
        self._session = session
        self._cluster_id = cluster_id
        self._credentials = credentials
        self._judge = judge
        self._random_bytes = random_bytes
        self._telling = Telling(log)
        self._counters = counters
        self._waiting: dict[NodeId, Peer] = {}
        """Nodes with a candidate."""
        self._budgets = (Limiter(1000, 500), Limiter(50, 50))
        """Of what is sent to sessions that are not known, under keys in use and under retired ones."""

    # Asking

    def ask(
        self, nodeid: NodeId, session: bytes, key_ident: bytes, retired: bool, now: float, *, eager: bool = False
    ) -> None:
        """An authentic datagram of a session came that does not count: ask the node who it is, but not too often."""
        peer = self.peers.remember(nodeid)
        if peer is None:
            self._counters["too many nodes"] += 1
            return
        dealings = peer.dealings[retired]
        if session == dealings.refused and not eager and now - dealings.asked_s < ASK_REFUSED_INTERVAL_S:
            return
        if dealings.asks.allow(now) and self._budgets[retired].allow(now):
            self._challenge(nodeid, dealings, key_ident, now)

    def _challenge(self, nodeid: NodeId, dealings: Dealings, key_ident: bytes, now: float) -> None:
        if dealings.nonce is None or now - dealings.made_s >= NONCE_LIFE_S:
            dealings.nonce = self._random_bytes(NONCE_SIZE)
            dealings.made_s = now
        dealings.asked_s = now
        self._surroundings.send_message(nodeid, Challenge(dealings.nonce), key_ident)

    # Hearing

    def hear(
        self, header: Header, message: Message, session: Session | None, retired: bool, now: float
    ) -> tuple[bytes, Credentials] | None:
        """A control message was opened, of a known session (whose window has taken it) or of none. Gives what a body
        says, and who says it."""
        if isinstance(message, Response):
            self._hear_response(header, message, session, retired, now)
        elif isinstance(message, Ruling):
            self._hear_ruling(header, message, retired, now)
        elif isinstance(message, Challenge):
            self._hear_challenge(header, message, session, retired, now)
            if session is None:
                self._ask_sender(header, retired, now)
        elif session is None:
            if isinstance(message, Body):
                self._counters["unknown session"] += 1
            self._ask_sender(header, retired, now)
        elif isinstance(message, Body):
            session.key_ident = header.key_ident
            self._note_talking(session)
            return message.data, session.credentials
        elif isinstance(message, Hello) and not session.verdict.admitted:
            self._ask_sender(header, retired, now, eager=True)
        return None

    def _ask_sender(self, header: Header, retired: bool, now: float, *, eager: bool = False) -> None:
        self.ask(header.sender, header.session, header.key_ident, retired, now, eager=eager)

    def _hear_challenge(
        self, header: Header, challenge: Challenge, session: Session | None, retired: bool, now: float
    ) -> None:
        peer = self.peers.remember(header.sender)
        if peer is None:
            self._counters["too many nodes"] += 1
            return
        dealings = peer.dealings[retired]
        limiter = dealings.answers_to_unknown if session is None else dealings.answers_to_known
        if not limiter.allow(now) or (session is None and not self._budgets[retired].allow(now)):
            self._counters["too many challenges"] += 1
            return
        if challenge.nonce not in dealings.answered:
            dealings.answered = [*dealings.answered[1 - NONCES_ANSWERED :], challenge.nonce]
        response = Response(challenge.nonce, self._credentials())
        self._surroundings.send_message(header.sender, response, header.key_ident)

    def _hear_ruling(self, header: Header, ruling: Ruling, retired: bool, now: float) -> None:
        peer = self.peers.get(header.sender)
        if ruling.session != self._session or peer is None or ruling.nonce not in peer.dealings[retired].answered:
            self._counters["ruling on something else"] += 1
            return
        peer.dealings[retired].answered.remove(ruling.nonce)
        # That a key which this node has left is refused elsewhere, too, is how it should be.
        if header.key_ident != self._surroundings.sending_key():
            self._counters["ruling under a former key"] += 1
            return
        reason = ruling.verdict.reason
        peer.shunned_until_s = -inf if reason is None else now + SHUNNED_S
        if reason is not None:
            if peer.full is not None:
                self._surroundings.session_lost(peer.full)
            verdict = refused(reason, printable(ruling.verdict.text), printable(ruling.verdict.remedy))
            self._telling.refused(peer, verdict, f"node {peer.nodeid} refuses this node", now, here=False)
            self.on_refused(peer.nodeid, verdict)

    def _hear_response(
        self, header: Header, response: Response, session: Session | None, retired: bool, now: float
    ) -> None:
        peer = self.peers.get(header.sender)
        dealings = peer.dealings[retired] if peer is not None else None
        if peer is None or dealings is None or not _is_answered(dealings, response, now):
            self._counters["answer to no challenge"] += 1
            return
        shown = response.credentials
        if shown.nodeid != header.sender or shown.cluster_id != self._cluster_id:
            self._counters["credentials of another node"] += 1
            return
        if peer.candidate is not None and not retired and peer.candidate.ident == header.session:
            return  # Its turn comes; the challenge is still for the session before it.
        dealings.nonce = None
        verdict = self._judge(shown)
        if retired and verdict.admitted:
            verdict = refused(Reason.STALE, "its key was retired", "it fetches the newer configuration by itself")
        self.on_judged(peer.nodeid, shown, verdict)
        if session is None:
            session = Session(peer.nodeid, header.session, shown, verdict, header.key_ident, header.counter)
        session.credentials, session.verdict, session.key_ident = shown, verdict, header.key_ident
        if not verdict.admitted:
            self._refuse(peer, dealings, session, response.nonce, now)
        elif session is peer.full:
            self._settle_duplicate(peer, now)
        else:
            self._welcome(peer, session, response.nonce, now)

    # Deciding

    def _welcome(self, peer: Peer, session: Session, nonce: bytes, now: float) -> None:
        """A session that may be admitted; if another one of its node is, that is asked for a sign of life first."""
        if peer.full is None:
            self._accept(peer, session, nonce, now)
        elif peer.candidate is None:
            peer.candidate, peer.candidate_nonce = session, nonce
            peer.candidate_until_s = now + TAKEOVER_S
            self._waiting[peer.nodeid] = peer
            self._probe(peer, now)

    def _accept(self, peer: Peer, session: Session, nonce: bytes, now: float) -> None:
        self._forget_candidate(peer)
        if peer.full is not None:
            self._surroundings.session_lost(peer.full)
        peer.full = peer.talking = session
        peer.dealings[False].limited = None
        peer.dealings[False].refused = b""
        peer.told = {what: told_s for what, told_s in peer.told.items() if not what[1]}
        self._rule(session, nonce)
        self._telling.admitted(session, now)

    def _refuse(self, peer: Peer, dealings: Dealings, session: Session, nonce: bytes, now: float) -> None:
        """Tell it, and keep of its session what it needs to catch up."""
        self._demote(peer, dealings, session)
        self._rule(session, nonce)
        self._telling.refused(peer, session.verdict, f"{who(session)} is refused", now, here=True)

    def _demote(self, peer: Peer, dealings: Dealings, session: Session) -> None:
        """`session`, new or admitted so far, is refused by its verdict."""
        if session is peer.full:
            self._surroundings.session_lost(session)
            peer.full = None
            self._forget_candidate(peer)
        reason = session.verdict.reason
        self._counters[f"refused: {reason}"] += 1
        dealings.refused = session.ident
        dealings.limited = session if reason is not None and reason.may_catch_up else None
        if dealings.limited is not None:
            self._note_talking(session)

    def _rule(self, session: Session, nonce: bytes) -> None:
        """Tell a session the verdict on its response to `nonce`."""
        self._surroundings.send_message(
            session.nodeid, Ruling(session.ident, nonce, session.verdict), session.key_ident
        )

    def _settle_duplicate(self, peer: Peer, now: float) -> None:
        """The admitted session is alive: whoever waits for its place is somebody else with the same node id."""
        other, nonce = peer.candidate, peer.candidate_nonce
        if other is None:
            return
        other.verdict = refused(
            Reason.DUPLICATE,
            f"node {peer.nodeid} is here already, and alive",
            "give one of the two another node id, or stop it",
        )
        self.on_judged(peer.nodeid, other.credentials, other.verdict)
        self._counters[f"refused: {Reason.DUPLICATE}"] += 1
        self._forget_candidate(peer)
        peer.dealings[False].refused = other.ident
        self._rule(other, nonce)
        self._telling.refused(peer, other.verdict, f"another {who(other)} is refused", now, here=True)

    def _forget_candidate(self, peer: Peer) -> None:
        peer.candidate, peer.candidate_until_s, peer.probe_at_s = None, inf, inf
        self._waiting.pop(peer.nodeid, None)

    def _note_talking(self, session: Session) -> None:
        peer = self.peers.get(session.nodeid)
        if peer is not None:
            peer.talking = session

    # Changes from inside

    def recheck(self, activated: Collection[NodeId]) -> None:
        """The configuration is another one: judge those who are admitted again. `activated` have the same by now."""
        mine = self._credentials()
        self.start_afresh()
        for peer in self.peers:
            self._forget_candidate(peer)
            for dealings in peer.dealings:
                dealings.refused = b""
            session = peer.full
            if session is None:
                continue
            if peer.nodeid in activated:
                session.credentials = _with_configuration(session.credentials, mine)
            session.verdict = self._judge(session.credentials)
            if not session.verdict.admitted:
                self._demote(peer, peer.dealings[False], session)

    def start_afresh(self) -> None:
        """This node is not what others have refused any more."""
        for peer in self.peers:
            peer.shunned_until_s = -inf

    def forget(self, nodeid: NodeId) -> None:
        """The node has to show again who it is."""
        peer = self.peers.get(nodeid)
        if peer is not None:
            self._forget_candidate(peer)
            for session in peer.sessions():
                self._surroundings.session_lost(session)
            self.peers.forget(nodeid)

    # Time

    def next_deadline(self) -> float:
        """When something has to be decided."""
        if not self._waiting:
            return inf
        return min(min(peer.candidate_until_s, peer.probe_at_s) for peer in self._waiting.values())

    def handle_timer(self, now: float) -> None:
        """Decide what is due: a session that gave no sign of life makes way."""
        for peer in list(self._waiting.values()):
            if peer.candidate is not None and now >= peer.candidate_until_s:
                self._accept(peer, peer.candidate, peer.candidate_nonce, now)
            elif now >= peer.probe_at_s:
                self._probe(peer, now)

    def _probe(self, peer: Peer, now: float) -> None:
        self._challenge(peer.nodeid, peer.dealings[False], self._surroundings.sending_key(), now)
        peer.probe_at_s = now + PROBE_INTERVAL_S


def _is_answered(dealings: Dealings, response: Response, now: float) -> bool:
    return dealings.nonce == response.nonce and now - dealings.made_s < NONCE_LIFE_S


def _with_configuration(credentials: Credentials, other: Credentials) -> Credentials:
    """The same node with the configuration of `other`."""
    return Credentials(
        credentials.cluster_id, credentials.uuid, credentials.nodeid, credentials.name,
        other.config_version, other.config_digest, credentials.features,
    )  # fmt: skip


def _ignore_refusal(nodeid: NodeId, verdict: Verdict) -> None:
    pass


def _ignore_judgement(nodeid: NodeId, credentials: Credentials, verdict: Verdict) -> None:
    pass
