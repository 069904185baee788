"""The front for corosync's own client libraries: accepts their connections and drives their sessions.

A request is read, handled and answered by the daemon's loop, without the scheduler; accepting, handshakes and full
rings are for tasks.
"""

import errno
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from totemd.config.model import SystemSettings
from totemd.errors import BadRing, MachineError
from totemd.ipc.ports import Credentials
from totemd.limits import CLIENTS_MAX, QB_CLIENTS_MAX
from totemd.node import Node
from totemd.qb import handshake
from totemd.qb.api import QbService
from totemd.qb.handshake import ConnectionType
from totemd.qb.services import QB_SERVICES
from totemd.qb.session import QbSession
from totemd.shell.clients import connections_max, peer_credentials
from totemd.shell.processes import process_name
from totemd.shell.qb_connection import MemoryConnection, MemoryLink, QbConnection
from totemd.shell.qb_datagrams import DatagramConnection, Datagrams
from totemd.shell.qb_memory import SharedMemory, check_machine, sweep
from totemd.shell.qb_sockets import QbSockets, receive_with_credentials
from totemd.shell.shared_buffers import OPEN_MAX

HANDSHAKE_S: Final = 10.0
"""How long a client may take to say what it wants."""
STRANGERS_MAX: Final = 200
"""Connections in their handshake; more wait to be accepted."""
UNINVITED_MAX: Final = 50
"""So many of them may be of users who will be refused: they must not keep others out by saying nothing."""
TURN_S: Final = 0.001
"""How long clients that want something together may keep the ring from its turn; at least one is served."""
DESCRIPTORS_EACH: Final = 7
"""Of one connection: its stream and six files."""
DESCRIPTORS_OTHERS: Final = CLIENTS_MAX + STRANGERS_MAX + OPEN_MAX
"""What the native socket's clients, those who are not let in yet, and buffers of multicasts may take."""
RETRY_S: Final = (0.002, 0.05)
"""How soon, and how late at most, a full ring is looked at again: nothing tells when a client has read."""


class QbClients:
    """All connections. `pump` performs what follows from an input; it calls `flush`."""

    def __init__(self, node: Node, sockets: QbSockets | None, pump: Callable[[], None], epoll: select.epoll) -> None:
        """`epoll` becomes readable when a client wants something: `ready`. No `sockets`: this front is off."""
        self._node = node
        self._sockets = sockets
        wants_sockets = node.configuration.system.qb_ipc_type == "socket"
        self._kind = ConnectionType.SOCKET if wants_sockets else ConnectionType.SHARED_MEMORY
        self._pump = pump
        self._epoll = epoll
        self.by_descriptor: dict[int, QbConnection] = {}
        self._by_session: dict[QbSession, QbConnection] = {}
        self.unannounced: dict[MemoryLink, None] = {}
        """Those whose clients `flush` tells of events."""
        self._waiting: dict[QbConnection, None] = {}
        """Those whose requests wait until they are accepted again."""
        self._unfinished: dict[QbConnection, None] = {}
        """Those that have requests to be handled."""
        self._work = trio.Event()
        self._served: QbConnection | None = None
        """Whose requests have been handled since the last `flush`."""
        self._retrying = False
        """Whether a task looks at full rings from time to time already."""
        self._strangers = 0
        self._uninvited = 0
        self._door = trio.Lock()
        """One client comes in at a time, and the ring has its turn in between: its files take a while."""
        self._connections_max = connections_max(QB_CLIENTS_MAX, each=DESCRIPTORS_EACH, others=DESCRIPTORS_OTHERS)

    # -- the loop ----------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether `go_on` has something to do."""
        return bool(self._unfinished)

    def ready(self, descriptor: int, events: int) -> None:
        """Handle what a client has sent, now; if that is much, some of it."""
        connection = self.by_descriptor[descriptor]
        connection.handle(descriptor, events)
        if connection not in self._unfinished:
            # Who asks more than its turn allows goes on behind the others, and the token.
            self._serve(connection)
        self._pump()

    def go_on(self) -> None:
        """Handle some more of what a client has sent before; each has its turn."""
        connection = next(iter(self._unfinished))
        del self._unfinished[connection]
        self._serve(connection)
        self._pump()

    def flush(self) -> None:
        """After each input of the node: tell clients of their events and whether they may send, go on where they may
        again, and end the connections that cannot go on. Not from within a service's push."""
        sessions = self._node.qb
        if self.unannounced:
            self._announce()
        if self._served is not None:
            self._give_back(self._served)
        sessions.tell_flow()
        if sessions.with_work:
            for session in list(sessions.with_work):
                if session.closing is None and session.holds:
                    session.flush()
                if session.closing is not None:
                    self._close(session)
            if not self._retrying:
                self._work.set()
        if self._waiting:
            for connection in [known for known in self._waiting if known.has_requests]:
                del self._waiting[connection]
                self._unfinished[connection] = None
        if self.unannounced:
            # Ends of connections are news, too.
            self._announce()

    def _announce(self) -> None:
        for link in self.unannounced:
            try:
                link.announce()
            except BadRing as error:
                if link.session is not None:
                    link.session.cut(str(error))
        self.unannounced.clear()

    def _give_back(self, connection: QbConnection) -> None:
        """Let a client use the room of its requests again: the last thing, for it waits for their consequences."""
        self._served = None
        session = connection.session
        if session.closing is None:
            try:
                connection.give_back()
            except BadRing as error:
                session.cut(str(error))

    def _serve(self, connection: QbConnection) -> None:
        if connection.session.closing is not None:
            return
        self._node.set_time(trio.current_time())
        self._served = connection
        connection.serve()
        if connection.has_requests:
            self._unfinished[connection] = None
        elif connection.announced:
            self._waiting[connection] = None

    # -- tasks -------------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Accept and serve clients until cancelled."""
        if self._sockets is None:
            return
        try:
            async with trio.open_nursery() as nursery:
                for service in self._node.qb.offered:
                    listener = self._sockets.by_name[service.name]
                    nursery.start_soon(self._accept, nursery, service, listener)
                nursery.start_soon(self._retry)
        finally:
            for session in list(self._by_session):
                session.cut("")
                self._close(session)

    async def _accept(self, nursery: trio.Nursery, service: QbService, listener: socket.socket) -> None:
        # Connections have it from their first moment then: who sends before it is set would be nobody.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                if self._strangers >= STRANGERS_MAX:
                    raise OSError(errno.EMFILE, "")
                stream, _ = listener.accept()
            except BlockingIOError:
                continue
            except OSError:
                # Too many descriptors or strangers: clients wait in the backlog until there are less.
                await trio.sleep(0.1)
                continue
            uninvited = self._is_uninvited(stream)
            if uninvited and self._uninvited >= UNINVITED_MAX:
                stream.close()
                continue
            self._strangers += 1
            self._uninvited += uninvited
            nursery.start_soon(self._greet, service, stream, uninvited)

    def _is_uninvited(self, stream: socket.socket) -> bool:
        try:
            return self._node.access.refusal(peer_credentials(stream)) is not None
        except OSError:
            return True

    async def _greet(self, service: QbService, stream: socket.socket, uninvited: bool) -> None:
        kept = False
        try:
            stream.setblocking(False)
            with trio.move_on_after(HANDSHAKE_S), suppress(OSError, BadRing):
                data, credentials = await receive_request(stream)
                async with self._door:
                    self._node.set_time(trio.current_time())
                    kept = self._let_in(service, stream, handshake.decode_request(data), credentials)
        finally:
            self._strangers -= 1
            self._uninvited -= uninvited
            if not kept:
                stream.close()

    def _let_in(self, service: QbService, stream: socket.socket, message_max: int, credentials: Credentials) -> bool:
        """Answer the handshake; False: the client was refused."""
        refusal = self._node.qb.refusal(credentials)
        if not refusal and len(self._by_session) >= self._connections_max:
            refusal = errno.EMFILE
        if refusal:
            stream.send(handshake.refuse(refusal))
            return False
        try:
            connection, reply = self._open(service, stream, message_max, credentials)
        except MachineError as error:
            self._node.log("err", "IPC", f"a client of {service.name} was refused: {error}")
            stream.send(handshake.refuse(errno.ENOMEM))
            return False
        self._by_session[connection.session] = connection
        try:
            for descriptor in connection.descriptors:
                self.by_descriptor[descriptor] = connection
                self._epoll.register(descriptor, select.EPOLLIN)
            whole = stream.send(reply) == len(reply)
        except OSError:
            whole = False
        if not whole:
            connection.session.cut("")
        self._pump()
        return True

    def _open(
        self, service: QbService, stream: socket.socket, message_max: int, credentials: Credentials
    ) -> tuple[QbConnection, bytes]:
        """A connection of the kind that the configuration wants, and the answer that says where it is."""
        number, sessions = stream.fileno(), self._node.qb
        name = process_name(credentials.pid)
        if self._kind is ConnectionType.SOCKET:
            datagrams = Datagrams(service.name, credentials, number, message_max)
            session = sessions.open(service, credentials, datagrams, process_name=name)
            paths: tuple[str, ...] = (datagrams.control, datagrams.base, "")
            connection: QbConnection = DatagramConnection(stream, datagrams, session, self._change)
        else:
            memory = SharedMemory(service.name, credentials, number, message_max)
            link = MemoryLink(stream, memory, message_max, self._change, self.unannounced)
            session = sessions.open(service, credentials, link, process_name=name)
            paths = memory.paths
            connection = MemoryConnection(stream, memory, link, session)
        return connection, handshake.accept(self._kind, message_max, number, *paths)

    async def _retry(self) -> None:
        """Look at full rings again."""
        sessions = self._node.qb
        while True:
            await self._work.wait()
            self._work = trio.Event()
            self._retrying = True
            delay_s = RETRY_S[0]
            while sessions.with_work:
                self._work = trio.Event()
                turn = Turn()
                moved, goes_on = False, False
                for session in list(sessions.with_work):
                    queued_bytes = session.queued_bytes
                    if session.flush():
                        sessions.with_work.pop(session, None)
                    moved = moved or session.queued_bytes < queued_bytes
                    goes_on = goes_on or session.goes_on
                    await turn.end_in_time()
                self._pump()
                if goes_on:
                    await trio.lowlevel.checkpoint()
                else:
                    delay_s = RETRY_S[0] if moved else min(delay_s * 1.5, RETRY_S[1])
                    with trio.move_on_after(delay_s):
                        await self._work.wait()
            self._retrying = False

    # -- within ------------------------------------------------------------------------------------------------------

    def _change(self, descriptor: int, events: int) -> None:
        self._epoll.modify(descriptor, events)

    def _close(self, session: QbSession) -> None:
        """End a connection that cannot go on, and remove all that there was of it."""
        connection = self._by_session.pop(session)
        if session.closing:
            who = session.credentials
            self._node.log(
                "warning",
                "IPC",
                f"a client of {session.service.name} (process {who.pid}, user {who.uid}) was disconnected: "
                f"{session.closing}",
            )
        self._waiting.pop(connection, None)
        self._unfinished.pop(connection, None)
        for descriptor in connection.descriptors:
            self.by_descriptor.pop(descriptor, None)
            # Not there if the kernel had no memory to watch it.
            with suppress(OSError):
                self._epoll.unregister(descriptor)
        self._node.set_time(trio.current_time())
        self._node.qb.close(session)
        connection.close()


class Turn:
    """What a task has of the processor before the ring must have it again."""

    def __init__(self) -> None:
        self._end = trio.current_time() + TURN_S

    @property
    def over(self) -> bool:
        return trio.current_time() >= self._end

    async def end_in_time(self) -> None:
        """To be called after each client."""
        if self.over:
            await trio.lowlevel.checkpoint()
            self._end = trio.current_time() + TURN_S


async def receive_request(stream: socket.socket) -> tuple[bytes, Credentials]:
    """The first message of a client, and who it is. BadRing, OSError: it goes away, or says something else."""
    data = b""
    credentials: Credentials | None = None
    while len(data) < handshake.REQUEST_SIZE:
        await trio.lowlevel.wait_readable(stream)
        try:
            more, sender = receive_with_credentials(stream, handshake.REQUEST_SIZE - len(data))
        except BlockingIOError:
            continue
        if not more:
            raise BadRing("the client has closed the connection")
        data += more
        credentials = credentials or sender
    if credentials is None:
        raise BadRing("the client's credentials are not known")
    return data, credentials


def open_qb_sockets(node: Node, settings: SystemSettings) -> QbSockets | None:
    """The sockets that corosync's libraries connect to; None, and a line in the log, if there will be none."""
    services = node.qb.offered
    if not settings.qb_ipc:
        node.log("info", "IPC", "corosync's client libraries are not served: system.qb_ipc is no")
        return None
    try:
        check_machine()
        sockets = QbSockets(service.name for service in services)
    except MachineError as error:
        node.log("warning", "IPC", f"corosync's client libraries are not served, only totemd's own socket: {error}")
        return None
    removed = sweep(frozenset(QB_SERVICES))
    if removed:
        node.log("info", "IPC", f"removed the shared memory of {removed} connections to daemons that are gone")
    return sockets
