"""The seal of one node: bytes of the ring in, sealed datagrams out, and the way back (chapter "Sealed datagrams").

    ring -> seal(packet) -> wire          wire -> open(datagram) -> ring
                            outbox -> wire    (handshake, catching up)

`open` of a session that is known is a dictionary's look and one decryption; everything else takes the long way, which
ends in a counter, a message in the outbox, or both.
"""

from collections import Counter
from collections.abc import Callable, Collection
from struct import Struct
from typing import Final

from totemd.errors import BadPacket
from totemd.ids import NodeId
from totemd.seal.datagram import (
    HEADER_SIZE,
    NONCE_AT,
    OVERHEAD_BYTES,
    PREFIX_SIZE,
    Header,
    Kind,
    decode_header,
    encode_prefix,
)
from totemd.seal.handshake import Handshake
from totemd.seal.keys import Key, KeyRing
from totemd.seal.messages import CONTROL_SIZE_MAX, Body, Credentials, Hello, Message, decode_message, encode_message
from totemd.seal.peers import Peer, Session
from totemd.seal.suite import TO_ALL, Aead, Suite
from totemd.seal.verdict import Verdict
from totemd.seal.window import Window

_COUNTER_SIZE: Final = HEADER_SIZE - PREFIX_SIZE
OWN_MAX: Final = 1024
"""Receivers for whom what seals is kept; who invents node ids must not fill the memory."""

Encrypt = Callable[[bytes, bytes, bytes], bytes]
_counter_of: Final = Struct("<Q").unpack_from


class Opener:
    """What opens the ring's packets of one session under one key."""

    __slots__ = ("decrypt", "nodeid", "take")

    def __init__(self, nodeid: NodeId, aead: Aead, window: Window) -> None:
        self.nodeid = nodeid
        self.decrypt = aead.decrypt
        self.take = window.take


class Seal:
    """One boot of one node. After each call but `seal`, send what is in `outbox`; call `handle_timer` when
    `next_deadline` has passed."""

    overhead_bytes: Final = OVERHEAD_BYTES
    """By how much a datagram is longer than the packet in it."""

    def __init__(
        self,
        *,
        keys: KeyRing,
        suite: str,
        cluster_id: bytes,
        nodeid: NodeId,
        session: bytes,
        credentials: Callable[[], Credentials],
        judge: Callable[[Credentials], Verdict],
        random_bytes: Callable[[int], bytes],
        log: Callable[[str, str], None],
    ) -> None:
        """`suite`: one of `totemd.seal.suite.SUITES`. `session`: 16 random bytes that were never used before.
        `log` is given a level and a line."""
        self.counters: Counter[str] = Counter()
        """What was dropped, by reason, and what was refused."""
        self.outbox: list[tuple[NodeId | None, bytes]] = []
        """Datagrams to send, to a node or (None) to all. One for a node that the nodelist does not have answers the
        datagram that was opened last, and goes where that came from."""
        self.on_control: Callable[[NodeId, bytes, Credentials], None] = _ignore_body
        """Given what `send_control` of another node said."""
        self._nodeid = nodeid
        self._session = session
        self._counter = 0
        self._suite = Suite(suite, cluster_id)
        self._failures = self._suite.failures
        self._openers: dict[bytes, Opener] = {}
        """By the prefix of the datagram."""
        self._own: dict[tuple[bytes, NodeId], Aead] = {}
        """What seals, by the key's ident and the receiver."""
        self._encrypt_to: dict[NodeId, Encrypt] = {}
        """What seals packets of the ring for one node."""
        self._handshake = Handshake(self, session, cluster_id, credentials, judge, random_bytes, log, self.counters)
        self._take_keys(keys)

    # The ring's packets

    def seal(self, data: bytes, to: NodeId | None = None) -> bytes:
        """The datagram that carries `data` to all, or to one node: no other one will open it then."""
        counter = self._counter = self._counter + 1
        if to is None:
            header = self._prefix + counter.to_bytes(_COUNTER_SIZE, "little")
            return header + self._encrypt(header[NONCE_AT:], data, header)
        encrypt = self._encrypt_to.get(to)
        if encrypt is None:
            encrypt = self._encrypt_to[to] = self._own_aead(self._keys.sending, to).encrypt
        header = self._prefix_to_one + counter.to_bytes(_COUNTER_SIZE, "little")
        return header + encrypt(header[NONCE_AT:], data, header)

    def open(self, data: bytes, now: float) -> tuple[NodeId, bytes] | None:
        """The sender and the packet in a datagram. None: it was dropped and counted, or was for the seal itself."""
        opener = self._openers.get(data[:PREFIX_SIZE])
        if opener is None:
            return self._open_other(data, now)
        try:
            plain = opener.decrypt(data[NONCE_AT:HEADER_SIZE], data[HEADER_SIZE:], data[:HEADER_SIZE])
        except self._failures:
            self.counters["forged or damaged"] += 1
            return None
        if not opener.take(_counter_of(data, PREFIX_SIZE)[0]):
            self.counters["replayed"] += 1
            return None
        return opener.nodeid, plain

    def _open_other(self, data: bytes, now: float) -> tuple[NodeId, bytes] | None:
        """The long way: of a session or under a key that was not met yet, or a control message."""
        try:
            header = decode_header(data)
            return self._open_checked(header, data, now)
        except BadPacket as problem:
            self.counters[problem.reason] += 1
        except self._failures:
            self.counters["forged or damaged"] += 1
        return None

    def _open_checked(self, header: Header, data: bytes, now: float) -> tuple[NodeId, bytes] | None:
        if header.sender == self._nodeid:
            raise BadPacket("own packet" if header.session == self._session else "own node id")
        key = self._keys.find(header.key_ident)
        if key is None:
            raise BadPacket("unknown key", header.key_ident.hex())
        retired = key.ident not in self._in_use
        peer = self._handshake.peers.get(header.sender)
        session = peer.session(header.session, retired) if peer is not None else None
        aead = self._opener(header, key, session)
        plain = aead.decrypt(data[NONCE_AT:HEADER_SIZE], data[HEADER_SIZE:], data[:HEADER_SIZE])
        if session is not None and not session.window.take(header.counter):
            raise BadPacket("replayed")
        if header.kind.is_control:
            self._hear(header, plain, session, retired, now)
            return None
        if peer is not None and session is not None and session is peer.full:
            if now < peer.shunned_until_s:
                raise BadPacket("sender refuses this node")
            prefix = data[:PREFIX_SIZE]
            self._openers[prefix] = Opener(header.sender, aead, session.window)
            return header.sender, plain
        self.counters["retired key" if retired else "unknown session" if session is None else "not admitted"] += 1
        self._handshake.ask(header.sender, header.session, header.key_ident, retired, now)
        return None

    def _opener(self, header: Header, key: Key, session: Session | None) -> Aead:
        to_one = header.kind.to_one
        aead = session.openers.get((key.ident, to_one)) if session is not None else None
        if aead is None:
            aead = self._suite.session(key, header.sender, header.session, self._nodeid if to_one else TO_ALL)
            if session is not None:
                session.openers[key.ident, to_one] = aead
        return aead

    # Control messages

    def _hear(self, header: Header, plain: bytes, session: Session | None, retired: bool, now: float) -> None:
        said = self._handshake.hear(header, decode_message(plain), session, retired, now)
        if said is not None:
            self.on_control(header.sender, *said)

    def start(self, now: float) -> None:
        """Tell everybody that this node is there (again, or with another configuration), so that they ask who it is."""
        self.send_message(None, Hello(), self._keys.sending.ident)

    def send_control(self, nodeid: NodeId, body: bytes) -> bool:
        """Say `body` (at most CONTROL_SIZE_MAX bytes) to a node that was admitted, or refused because one of the two
        has to catch up. False: there is no such session. It may be lost like any datagram."""
        if len(body) > CONTROL_SIZE_MAX:
            raise ValueError(f"{len(body)} bytes; a body has {CONTROL_SIZE_MAX} at most")
        peer = self._handshake.peers.get(nodeid)
        session = _listener(peer) if peer is not None else None
        if peer is None or session is None:
            return False
        # A member has the sending key, whatever it was admitted under; who has to catch up may have an old one only.
        self.send_message(nodeid, Body(body), self.sending_key() if session is peer.full else session.key_ident)
        return True

    def send_message(self, target: NodeId | None, message: Message, key_ident: bytes) -> None:
        """Put a control message into the outbox, sealed under that key; if it is gone, under the sending one."""
        key = self._keys.find(key_ident) or self._keys.sending
        counter = self._counter = self._counter + 1
        kind = Kind.CONTROL if target is None else Kind.CONTROL_TO_ONE
        header = encode_prefix(kind, key.ident, self._nodeid, self._session)
        header += counter.to_bytes(_COUNTER_SIZE, "little")
        aead = self._own_aead(key, TO_ALL if target is None else target)
        self.outbox.append((target, header + aead.encrypt(header[NONCE_AT:], encode_message(message), header)))

    # Time

    def next_deadline(self) -> float:
        """When `handle_timer` has something to do; infinity: nothing."""
        return self._handshake.next_deadline()

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self._handshake.handle_timer(now)

    # Changes

    def set_keys(self, keys: KeyRing) -> None:
        """Seal and open with these from now on. Sessions stay; counters go on."""
        self._take_keys(keys)

    def accept_key(self, key: Key) -> None:
        """Open what is sealed with `key`, too."""
        self._take_keys(self._keys.accepting(key))

    @property
    def keys(self) -> KeyRing:
        """What this node seals and opens with."""
        return self._keys

    def recheck(self, activated: Collection[NodeId] = ()) -> None:
        """The configuration, and so the judge and the credentials, changed: judge the admitted sessions again. Those of
        `activated`, who made the same change at the same place, are judged as if they showed what this node shows."""
        self._handshake.recheck(activated)

    def forget(self, nodeid: NodeId) -> None:
        """Have the node show again who it is."""
        self._handshake.forget(nodeid)

    def admitted(self, nodeid: NodeId) -> bool:
        """Whether packets of that node count."""
        peer = self._handshake.peers.get(nodeid)
        return peer is not None and peer.full is not None

    @property
    def on_refused(self) -> Callable[[NodeId, Verdict], None]:
        """Called when another node has refused this one."""
        return self._handshake.on_refused

    @on_refused.setter
    def on_refused(self, call: Callable[[NodeId, Verdict], None]) -> None:
        self._handshake.on_refused = call

    @property
    def on_judged(self) -> Callable[[NodeId, Credentials, Verdict], None]:
        """Called when this node has judged another one, whatever the verdict; before that has effect."""
        return self._handshake.on_judged

    @on_judged.setter
    def on_judged(self, call: Callable[[NodeId, Credentials, Verdict], None]) -> None:
        self._handshake.on_judged = call

    def sending_key(self) -> bytes:
        """For the handshake: the ident of the key that the ring's packets are sealed with."""
        return self._keys.sending.ident

    def session_lost(self, session: Session) -> None:
        """For the handshake: packets of that session do not count any more."""
        for key_ident, to_one in session.openers:
            kind = Kind.RING_TO_ONE if to_one else Kind.RING
            self._openers.pop(encode_prefix(kind, key_ident, session.nodeid, session.ident), None)

    def _take_keys(self, keys: KeyRing) -> None:
        self._keys = keys
        self._in_use = frozenset(key.ident for key in (keys.sending, *keys.accepted))
        self._own = {}
        self._suite.keep(keys.all())
        self._prefix = encode_prefix(Kind.RING, keys.sending.ident, self._nodeid, self._session)
        self._prefix_to_one = encode_prefix(Kind.RING_TO_ONE, keys.sending.ident, self._nodeid, self._session)
        self._encrypt = self._own_aead(keys.sending, TO_ALL).encrypt
        self._encrypt_to = {}
        self._openers = {}
        self._handshake.start_afresh()
        for peer in self._handshake.peers:
            for session in peer.sessions():
                session.openers = {}

    def _own_aead(self, key: Key, receiver: NodeId) -> Aead:
        aead = self._own.get((key.ident, receiver))
        if aead is None:
            if len(self._own) >= OWN_MAX:
                self._own.clear()
            aead = self._suite.session(key, self._nodeid, self._session, receiver)
            self._own[key.ident, receiver] = aead
        return aead


def _listener(peer: Peer) -> Session | None:
    """The session that a body for the node goes to: whichever spoke last."""
    sessions = peer.sessions()
    if peer.talking in sessions:
        return peer.talking
    return sessions[0] if sessions else None


def _ignore_body(nodeid: NodeId, body: bytes, credentials: Credentials) -> None:
    pass
