"""One client of the native socket, from its first byte to its last, without a socket.

    shell: bytes read --> receive() --> frames --> request table --> services
                                                                        |
    shell: bytes to write <-- take_output() <-- outbox <-- replies, subscriptions' events

A quiet multicast that finds no room waits here, and everything behind it: the session is `blocked`, and stands in
`Services.resumable` when it is worth another try.

The shell's duties: give it every byte read, in order; write what `take_output` returns, in order, and report it with
`written`; while `has_pending_input`, read nothing more from this client but call `resume` on its next turn; while it is
`blocked`, read nothing either, and call `resume` when it is resumable; once
`closing` is set, write what the socket takes without waiting for it, close, and call `closed` exactly as after the peer
went away (not from within a service's push).

Whatever a client sends, nothing is raised here: a request that is wrong gets an error reply, and bytes that are no
frame end the connection, each with a text that says why (protocol/, chapter "Native socket").
"""

from collections import deque
from typing import Final

from totemd.errors import BadFrame, Code, ServiceError
from totemd.ipc.arguments import IDENT, BadRequest, check_arguments, shown
from totemd.ipc.backlog import Account
from totemd.ipc.frames import Frame, FrameDecoder, encode_frame
from totemd.ipc.group_requests import is_quiet, multicast_at_once, multicast_together
from totemd.ipc.outbox import Outbox
from totemd.ipc.ports import Credentials
from totemd.ipc.requests import find_request
from totemd.ipc.services import Services
from totemd.ipc.subscriptions import GroupSubscription, ShutdownCaller, Subscription
from totemd.ipc.table import LATER
from totemd.limits import SUBSCRIPTIONS_MAX

PROTOCOL_VERSION: Final = 1

FEATURES: Final = ("quiet",)
"""What a client may use that older servers of this version do not know."""

FRAMES_PER_TURN_MAX: Final = 256
"""Frames handled before other clients and the ring get their turn."""

LATER_MAX: Final = 16
"""Requests of one client that wait for their answer (reload, shutdown) at once."""

_REQUEST_KEYS: Final = frozenset(("id", "do", "with"))
_CODE_WORDS: Final = {code: code.name.lower() for code in Code}


class Session:
    """The daemon's side of one connection."""

    def __init__(self, credentials: Credentials, services: Services) -> None:
        self.credentials = credentials
        self.services = services
        self.closing: str | None = None
        """Set: why this connection is to be closed as soon as the output is written (or cannot be)."""
        self.client_name = ""
        self.subscriptions: dict[int, Subscription] = {}
        """By the id of the request that subscribed; those in `groups` too."""
        self.groups: dict[bytes, GroupSubscription] = {}
        self.shutdown_caller = ShutdownCaller()
        self._held: deque[Frame] = deque()
        """A quiet multicast that waits for room, and the requests behind it."""
        self._owes_ready = False
        """Whether a request was refused with try_again since the last "ready"."""
        self._later: set[int] = set()
        """Requests that will be answered later."""
        self._decoder = FrameDecoder()
        self._account = Account(services.backlog, credentials.uid, self.close)
        self._outbox = Outbox(self._account)
        self._greeted = False
        self._gone = False
        refusal = services.access.refusal(credentials)
        if refusal is not None:
            self._fail("access", refusal)

    # -- the shell's side --------------------------------------------------------------------------------------------

    @property
    def has_pending_input(self) -> bool:
        """True: whole frames are waiting for `resume`."""
        return self.closing is None and not self._held and self._decoder.has_frame

    @property
    def blocked(self) -> bool:
        """True: nothing is handled until there is room for a quiet multicast."""
        return bool(self._held)

    @property
    def greeted(self) -> bool:
        """True once the client has said a hello that was accepted."""
        return self._greeted

    @property
    def has_output(self) -> bool:
        """True: `take_output` has something."""
        return bool(self._outbox)

    @property
    def backlog_bytes(self) -> int:
        """Bytes for this client that are not reported as written yet."""
        return self._account.queued_bytes

    def receive(self, data: bytes) -> None:
        """Take bytes that the client sent, and handle up to FRAMES_PER_TURN_MAX requests."""
        if self.closing is None:
            self._decoder.append(data)
            if not self._held:
                self.resume()

    def resume(self) -> None:
        """Handle more of what has been received already."""
        frames, self._held = self._held, deque()
        error: BadFrame | None = None
        try:
            while len(frames) < FRAMES_PER_TURN_MAX and (frame := self._decoder.take()) is not None:
                frames.append(frame)
        except BadFrame as broken:
            error = broken
        while frames and self.closing is None:
            if not self._greeted:
                self._greet(frames.popleft())
            elif not self._take_some(frames):
                # The decoder remembers what is wrong behind it.
                self._held = frames
                return
        if error is not None and self.closing is None:
            self._fail("bad_frame", str(error))

    def take_output(self) -> list[bytes]:
        """Chunks to write, in order; report them with `written`."""
        return self._outbox.take()

    def written(self, count_bytes: int) -> None:
        """So many bytes of the output have left the daemon."""
        self._outbox.written(count_bytes)

    def closed(self) -> None:
        """The connection is gone: its processes leave their groups, its subscriptions end. Calling it again is fine."""
        if self._gone:
            return
        self._gone = True
        if self.closing is None:
            self.closing = "the client closed the connection"
        self.services.waiting.pop(self, None)
        self.services.with_output.pop(self, None)
        self.services.resumable.pop(self, None)
        self._held.clear()
        self._account.close()
        for subscription in list(self.subscriptions.values()):
            subscription.disconnect()
        self.subscriptions.clear()
        self.groups.clear()
        self.services.cfg.disconnect(self.shutdown_caller)

    def close(self, reason: str) -> None:
        """End this connection from the daemon's side; the client is told why."""
        if self.closing is None:
            self._put(encode_frame({"event": "closing", "of": 0, "data": {"reason": reason}}))
            self.closing = reason

    def queue_became_ready(self) -> None:
        """What got try_again, or waits here, may be tried again."""
        if self._owes_ready:
            self._owes_ready = False
            self.event(0, "ready", {})
        if self._held:
            self.services.resumable[self] = None
            # So that somebody looks.
            self.services.with_output[self] = None

    # -- the handlers' and subscriptions' side -----------------------------------------------------------------------

    def event(self, ident: int, name: str, data: object) -> None:
        """Queue an event of the subscription `ident` (0: of the connection)."""
        self._send({"event": name, "of": ident, "data": data})

    def send_chunks(self, *chunks: bytes) -> None:
        """Queue an encoded frame."""
        if self.closing is None:
            self._put(*chunks)

    def answer(self, ident: int, value: object) -> None:
        """Reply to the request `ident`."""
        try:
            self._send({"id": ident, "ok": value})
        except BadFrame as error:
            self.refuse(ident, "too_big", f"the reply does not fit into one frame: {error}")

    def refuse(self, ident: int, code: str, message: str) -> None:
        """Reply to the request `ident` with an error."""
        self._send({"id": ident, "error": {"code": code, "message": message}})

    def begin_later(self, ident: int) -> None:
        """The request `ident` will be answered later, or refused now; ServiceError BUSY if too many wait already."""
        if ident in self._later:
            raise BadRequest(f"request id {ident} is still waiting for its answer; use another id")
        if len(self._later) >= LATER_MAX:
            raise ServiceError(Code.BUSY, f"{LATER_MAX} requests of this connection wait for their answers already")
        self._later.add(ident)

    def answer_later(self, ident: int, value: object) -> None:
        """The reply that `begin_later` has promised."""
        self._later.discard(ident)
        self.answer(ident, value)

    def refuse_later(self, ident: int, code: Code, message: str) -> None:
        """The error that becomes of what `begin_later` has promised."""
        self._later.discard(ident)
        self.refuse(ident, _CODE_WORDS[code], message)

    def check_subscription(self, ident: int) -> None:
        """Raise BadRequest or ServiceError unless the request `ident` can become a subscription."""
        if ident == 0:
            raise BadRequest("a request that subscribes needs an id other than 0")
        if ident in self.subscriptions:
            raise ServiceError(Code.EXIST, f"request id {ident} has a subscription already; use another id")
        if len(self.subscriptions) >= SUBSCRIPTIONS_MAX:
            raise ServiceError(
                Code.NO_RESOURCES, f"this connection has {SUBSCRIPTIONS_MAX} groups and subscriptions, the most allowed"
            )

    def end_group(self, ident: int, endpoint: GroupSubscription) -> None:
        """The group has been left; its id is free again."""
        self.subscriptions.pop(ident, None)
        if self.groups.get(endpoint.group) is endpoint:
            del self.groups[endpoint.group]

    # -- within ------------------------------------------------------------------------------------------------------

    def _greet(self, frame: Frame) -> None:
        hello = frame.get("hello")
        if type(hello) is not dict or len(frame) != 1:
            return self._refuse_protocol('the first frame must be {"hello": {"protocol": 1, "client": name}}')
        protocol = hello.get("protocol")
        if type(protocol) is not int or protocol != PROTOCOL_VERSION:
            return self._refuse_protocol(f"protocol is {shown(protocol)}; this server speaks {PROTOCOL_VERSION}")
        name = hello.get("client", "")
        if type(name) is not str:
            return self._refuse_protocol(f"client is {shown(name)}; it must be a name")
        self.client_name = name[:255]
        self._greeted = True
        node = self.services.node
        greeting = {
            "protocol": PROTOCOL_VERSION,
            "server": "totemd",
            "version": node.version,
            "nodeid": node.nodeid,
            "cluster_name": node.cluster_name,
            "incarnation": node.incarnation,
            "features": FEATURES,
        }
        return self._send({"hello": greeting})

    def _refuse_protocol(self, message: str) -> None:
        self._fail("protocol", message, supported=[PROTOCOL_VERSION])

    def _take_some(self, frames: deque[Frame]) -> bool:
        """Handle one request, or quiet multicasts that stand together; False: the first must wait for room."""
        if not is_quiet(frames[0]):
            self._handle(frames.popleft())
            return True
        for _ in range(multicast_together(self, frames)):
            frames.popleft()
        if not frames or not is_quiet(frames[0]):
            return True
        if self._handle(frames[0]):
            frames.popleft()
            return True
        return False

    def _handle(self, frame: Frame) -> bool:
        """False: this one must wait for room, and nothing has been done."""
        ident = frame.get("id")
        try:
            IDENT.convert(ident)
        except ValueError:
            self._fail("bad_frame", f'a request needs an "id", {IDENT.allowed}; this one has {shown(ident)}')
            return True
        assert type(ident) is int
        quiet = is_quiet(frame)
        try:
            if frame.get("do") == "cpg_multicast" and multicast_at_once(self, frame):
                value: object = {}
            else:
                value = self._call(ident, frame)
        except ServiceError as error:
            if error.code is Code.TRY_AGAIN:
                self.services.waiting[self] = None
                if quiet:
                    return False
                self._owes_ready = True
            self.refuse_later(ident, error.code, str(error))
            return True
        except BadRequest as error:
            self.refuse(ident, "bad_request", str(error))
            return True
        if value is not LATER and not quiet:
            self.answer(ident, value)
        return True

    def _call(self, ident: int, frame: Frame) -> object:
        request = find_request(frame.get("do"))
        if not _REQUEST_KEYS.issuperset(frame):
            unknown = next(key for key in frame if key not in _REQUEST_KEYS)
            raise BadRequest(f"{request.name}: a request has id, do and with, but no {shown(unknown)}")
        given = frame.get("with")
        if given is None:
            given = {}
        elif type(given) is not dict:
            raise BadRequest(f'{request.name}: "with" is {shown(given)}; it must be a map of arguments')
        return request.handle(self, ident, check_arguments(request.name, request.arguments, given))

    def _send(self, frame: Frame) -> None:
        if self.closing is None:
            self._put(encode_frame(frame))

    def _put(self, *chunks: bytes) -> None:
        self._outbox.put(*chunks)
        self.services.with_output[self] = None

    def _fail(self, code: str, message: str, **more: object) -> None:
        if self.closing is None:
            self._send({"error": {"code": code, "message": message, **more}})
            self.closing = message
