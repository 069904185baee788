"""The loop that drives a node: datagrams, timers, clients, signals and the disk, on trio."""

import gc
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from math import inf
from pathlib import Path
from random import SystemRandom

import trio

from totemd.config.model import Configuration
from totemd.errors import MachineError, TotemdError
from totemd.node import Node
from totemd.node.arrival import Datagram
from totemd.node.effects import ConfigureLogs, Exit, NodeEffect, PersistFile, ReadConfiguration, ReopenLogs
from totemd.shell.addresses import address_is_up
from totemd.shell.clients import Clients
from totemd.shell.listener import Listener
from totemd.shell.logs import Logger
from totemd.shell.qb_clients import TURN_S, QbClients, open_qb_sockets
from totemd.shell.scheduling import raise_priority
from totemd.shell.shared_buffers import FileBuffers
from totemd.shell.state import StateDirectory
from totemd.shell.transport import Transport
from totemd.totem.effects import Broadcast, Log, PersistRingSeq, Unicast

SOCKET_NAME = "totemd.sock"
EV_TRACKING_FILE = "ev_tracking"
NOTIFY_TIMEOUT_S = 0.5
"""How long a service manager that does not read may keep us."""

HOT_WAIT_S = 0.001
"""How long the token may be away before the daemon goes to sleep properly; the least that epoll_wait(2) can do."""

HOT_MAX_S = 0.005
"""How long timers of other tasks, threads and signals may have to wait while the ring is busy."""

SLEEP_MAX_S = 10.0
"""The loop looks around at least this often."""

PENDING_EFFECTS_MAX = 100_000
"""Effects held back behind a disk that does not answer; far beyond what a ring makes before it gives the node up."""

STOP_MAX_S = 5.0
"""How long a stop that was asked for may wait for the disk."""

FILES_MAX_S = 1.0
"""How long the end waits for the small files that nothing else waits for."""


class Daemon:
    """One running node. `read_configuration` reads the file again and gives the result, or raises TotemdError."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        state_dir: Path,
        run_dir: Path,
        logger: Logger,
        read_configuration: Callable[[], Configuration],
    ) -> None:
        """Opens everything that can fail; MachineError says what."""
        self._configuration = configuration
        self._logger = logger
        self._read_configuration = read_configuration
        with ExitStack() as opened:
            # One daemon has the socket's directory and the ring's port: a second one must not get as far as the state.
            self._listener = opened.enter_context(closing(Listener(run_dir / SOCKET_NAME)))
            self._transport = opened.enter_context(closing(Transport(configuration, self._cannot_send)))
            self._state = StateDirectory(state_dir, configuration.local.nodeid)
            self._stored_ring_seq = self._state.load_ring_seq()
            tracked = self._state.load(EV_TRACKING_FILE)
            self._opened = opened.pop_all()
        self._tracked = int.from_bytes(tracked, "little") if tracked and len(tracked) == 4 else None
        self._files: dict[str, bytes] = {}
        self._pending: deque[NodeEffect] = deque()
        self._persisting = False
        self._link_up = True
        self._plan = trio.CancelScope()
        self._wake_at = inf
        self._deadline = inf
        """When the node wanted to be called, by the last look at it."""
        self._hot = select.epoll()
        self._opened.enter_context(closing(self._hot))
        self._transport.watch(self._hot)
        self._exit: Exit | None = None
        self._ended = trio.Event()

    async def run(self) -> int:
        """Serve until told to stop; gives the process's exit status."""
        with self._opened:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._make_node()
                await nursery.start(self._handle_signals)
                nursery.start_soon(self._watch_interface)
                nursery.start_soon(self._clients.serve)
                nursery.start_soon(self._qb.serve)
                self._node.start(trio.current_time())
                self._pump()
                notify_service_manager("READY=1")
                nursery.start_soon(self._run_ring)
                await self._ended.wait()
                notify_service_manager("STOPPING=1")
                await self._clients.drain()
                with trio.move_on_after(FILES_MAX_S):
                    while self._files:
                        await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
        assert self._exit is not None
        return self._exit.status

    def _make_node(self) -> None:
        """The node, whose services may have effects from the first moment on, and what goes with it."""
        self._node = Node(
            self._configuration,
            stored_ring_seq=self._stored_ring_seq,
            tracked_expected_votes=self._tracked,
            incarnation=os.urandom(8).hex(),
            own_uid=os.geteuid(),
            random=SystemRandom().random,
            emit=self._emit,
            now=trio.current_time(),
        )
        self._node.machine_statistics = self._transport.statistics
        self._node.clock_ahead_s = time.time() - trio.current_time()
        self._node.front.shared_buffers = FileBuffers()
        self._clients = Clients(self._node, self._listener, self._pump, self._hot)
        sockets = open_qb_sockets(self._node, self._configuration.system)
        if sockets is not None:
            self._opened.enter_context(closing(sockets))
        self._qb = QbClients(self._node, sockets, self._pump, self._hot)
        self._qb_clients = self._qb.by_descriptor
        # What lives now lives for good; the collector need not look at it in the token's way. Looking once more, for
        # the little that does not live, would take a tenth of the start's time.
        gc.freeze()
        hindrance = raise_priority(self._configuration.system)
        if hindrance is not None:
            self._logger.log("info", "MAIN", hindrance)

    async def _run_ring(self) -> None:
        """Serve the ring for good. A wake-up is planned for the next deadline; as that moves away with every token, the
        plan is not changed then: it is looked at when it comes true, and made anew if it was too early."""
        while True:
            self._wake_at = min(self._node.next_deadline(), trio.current_time() + SLEEP_MAX_S)
            with trio.CancelScope(deadline=max(self._wake_at, 0.0)) as self._plan:
                while True:
                    await trio.lowlevel.wait_readable(self._transport.fileno())
                    self._turn()
                    self._stay_hot()
            self._turn()
            self._stay_hot()

    def _stay_hot(self) -> None:
        """While the token goes round without a pause: wait for it, and for clients, in the kernel directly. The
        scheduler in between would cost as much as all the rest. Anything but the ring's datagrams and whole requests
        is left to it, and it gets its turn every few milliseconds in any case."""
        clock, poll = trio.current_time, self._hot.poll
        receive_token, pass_token = self._transport.receive_token, self._node.pass_plain_token
        token_descriptor = self._transport.token_descriptor
        output, events = self._node.front.with_output, self._qb.unannounced
        now = clock()
        end = now + HOT_MAX_S
        while now < end:
            due = self._deadline <= now
            ready = poll(0 if due or self._qb.busy else HOT_WAIT_S)
            now = clock()
            token = None
            if ready and ready[0][0] == token_descriptor:
                token = receive_token()
                # Most visits end here. They move deadlines away only, so there is no need to look at them.
                if token is not None and len(ready) == 1 and not due and pass_token(*token, now):
                    if output or events:
                        self._pump()
                    continue
            if not self._serve(ready, token, due=due):
                break
        self._pump()

    def _serve(self, ready: list[tuple[int, int]], token: Datagram | None, *, due: bool) -> bool:
        """Handle what is `ready`, a token that has been read already, timers, and some of what clients have asked for
        before. Whether to stay hot."""
        if self._qb.busy:
            self._qb.go_on()
        elif not ready and not due:
            return False
        transport, clients = self._transport, self._clients
        tokens, data, stay = False, False, True
        end = trio.current_time() + TURN_S
        for descriptor, events in ready:
            if descriptor == transport.data_descriptor:
                data = True
            elif descriptor == transport.token_descriptor:
                # Behind other things; under a flood of messages it always is.
                tokens = token is None
            elif trio.current_time() >= end:
                # Too many clients at once: the token must not wait for all of them.
                stay = False
            elif descriptor in self._qb_clients:
                self._qb.ready(descriptor, events)
            else:
                stay = clients.read_ready(descriptor) and stay
        if tokens or data or due or token is not None:
            self._turn(token, tokens=tokens, data=data)
        return stay and not self._persisting and not clients.blocked and self._exit is None

    def _turn(self, token: Datagram | None = None, *, tokens: bool = True, data: bool = True) -> None:
        """Handle what has arrived (`token`: read already; `tokens`, `data`: on which sockets more may be) and what is
        due."""
        node = self._node
        datagrams, exhausted = self._transport.receive(node.has_all_up_to, token, tokens=tokens, data=data)
        now = trio.current_time()
        if datagrams:
            node.receive_datagrams(datagrams, now, exhausted=exhausted)
        if self._deadline <= now:
            node.handle_timer(now)
        self._pump()

    def _emit(self, effect: NodeEffect) -> bool:
        """Perform an effect at once, or queue it behind those that wait for the disk. Whether any do."""
        if not self._persisting:
            if isinstance(effect, Unicast):
                # The token: not a call more than must be.
                self._transport.unicast(effect.nodeid, effect.data)
            else:
                self._perform(effect)
        elif len(self._pending) < PENDING_EFFECTS_MAX:
            self._pending.append(effect)
        else:
            self._give_up("the disk does not answer")
        return self._persisting

    def _resume_effects(self) -> None:
        """The disk has answered: perform what waited, up to the next that must wait."""
        self._persisting = False
        while self._pending and not self._persisting:
            self._perform(self._pending.popleft())
        if not self._persisting:
            self._node.effects_performed(trio.current_time())

    def _pump(self) -> None:
        """After each input: write to clients, and wake up when the node wants to."""
        self._qb.flush()
        self._clients.flush()
        self._deadline = deadline = self._node.next_deadline()
        if deadline < self._wake_at:
            self._wake_at = self._plan.deadline = max(deadline, 0.0)

    def _perform(self, effect: NodeEffect) -> None:
        if isinstance(effect, Unicast):
            self._transport.unicast(effect.nodeid, effect.data)
        elif isinstance(effect, Broadcast):
            self._transport.broadcast(effect.data)
        elif isinstance(effect, Log):
            self._logger.log(effect.level, effect.subsystem, effect.text)
        elif isinstance(effect, PersistRingSeq):
            # Everything behind waits; the ring goes on listening meanwhile.
            self._persisting = True
            self._nursery.start_soon(self._persist_ring_seq, effect.seq)
        elif isinstance(effect, PersistFile):
            if not self._files:
                self._nursery.start_soon(self._persist_files)
            self._files[effect.name] = effect.data
        elif isinstance(effect, ReadConfiguration):
            self._nursery.start_soon(self._reload)
        elif isinstance(effect, ReopenLogs):
            self._logger.reopen()
        elif isinstance(effect, ConfigureLogs):
            self._logger.configure(effect.settings)
        else:
            self._end(effect)

    def _end(self, effect: Exit) -> None:
        if self._exit is None:
            self._exit = effect
            self._ended.set()

    def _give_up(self, reason: str) -> None:
        self._logger.log("err", "MAIN", f"stopping: {reason}")
        self._end(Exit(1, reason))

    async def _persist_ring_seq(self, seq: int) -> None:
        try:
            await trio.to_thread.run_sync(self._state.store_ring_seq, seq, abandon_on_cancel=True)
        except MachineError as error:
            # The packets behind claim a ring number that is not durable: they must not go out. All else must: the
            # node may be at its end already, and its Exit among them.
            claims = (Unicast, Broadcast, PersistRingSeq)
            self._pending = deque(effect for effect in self._pending if not isinstance(effect, claims))
            self._node.persist_failed(str(error), trio.current_time())
        self._resume_effects()
        self._pump()

    async def _persist_files(self) -> None:
        """Write the latest of each file, one at a time, so that no older content overtakes a newer one."""
        while self._files:
            name, data = next(iter(self._files.items()))
            try:
                await trio.to_thread.run_sync(self._state.store, name, data, abandon_on_cancel=True)
            except MachineError as error:
                self._logger.log("err", "MAIN", str(error))
            if self._files[name] is data:
                del self._files[name]

    async def _reload(self) -> None:
        try:
            configuration: Configuration | str = await trio.to_thread.run_sync(
                self._read_configuration, abandon_on_cancel=True
            )
        except (TotemdError, OSError) as error:
            # Also when the file is not there just now: the node goes on with what it has.
            configuration = str(error)
        self._node.configuration_read(configuration, trio.current_time())
        self._configuration = self._node.configuration
        self._transport.configure(self._configuration)
        self._logger.configure(self._configuration.logging)
        self._pump()

    async def _handle_signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP:
                    self._node.request_reload(lambda error: None)
                else:
                    self._node.leave(trio.current_time(), f"received {signal.Signals(number).name}")
                    self._nursery.start_soon(self._end_in_time)
                self._pump()

    async def _end_in_time(self) -> None:
        await trio.sleep(STOP_MAX_S)
        if self._exit is None:
            self._give_up("the disk does not answer")

    def _cannot_send(self, address: str, reason: str) -> None:
        self._logger.log("warning", "TOTEM", f"cannot send to {address}: {reason}")

    async def _watch_interface(self) -> None:
        """Notice that our address goes and comes. While it is away nothing is rebound to another one."""
        while True:
            await trio.sleep(self._configuration.totem.downcheck_timeout_s)
            up = address_is_up(self._configuration.transport)
            if up == self._link_up:
                continue
            if up:
                try:
                    self._transport.reopen()
                except MachineError as error:
                    self._logger.log("err", "TOTEM", str(error))
                    continue
            self._link_up = up
            self._node.interface_changed(up=up, now=trio.current_time())
            self._pump()


def notify_service_manager(state: str) -> None:
    """Tell systemd, if it asked to be told (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(NOTIFY_TIMEOUT_S)
        sock.connect(address)
        sock.sendall(state.encode())
