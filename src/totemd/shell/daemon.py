"""The loop that drives a node: datagrams, timers, clients, signals and the disk, on trio."""

import gc
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

import trio

from totemd.config.model import Configuration
from totemd.errors import MachineError, TotemdError
from totemd.node import Node
from totemd.node.effects import (
    CheckConfiguration,
    ConfigureLogs,
    Exit,
    NodeEffect,
    PersistFile,
    ReadConfiguration,
    ReopenLogs,
    SendNow,
    StoreChange,
    WriteConfiguration,
)
from totemd.node.status import summary
from totemd.shell.addresses import Changes, address_is_up
from totemd.shell.clients import Clients
from totemd.shell.listener import Listener
from totemd.shell.logs import Logger
from totemd.shell.loop import Loop
from totemd.shell.qb_clients import QbClients, open_qb_sockets
from totemd.shell.scheduling import raise_priority
from totemd.shell.service_manager import keep_informed, notify_service_manager, tell_reloading
from totemd.shell.shared_buffers import FileBuffers
from totemd.shell.stalls import Stalls
from totemd.shell.state import StateDirectory
from totemd.shell.transport import Transport
from totemd.totem.effects import Broadcast, Log, PersistRingSeq, Unicast

if TYPE_CHECKING:
    from totemd.node.sealing import SealMaker
    from totemd.shell.managed import Managed

SOCKET_NAME = "totemd.sock"
EV_TRACKING_FILE = "ev_tracking"
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
        managed: "Managed | None" = None,
    ) -> None:
        """Opens everything that can fail; MachineError or OperatorError say what. `managed` is there in a managed
        cluster."""
        self._configuration = configuration
        self._logger = logger
        self._read_configuration = read_configuration
        self._managed = managed
        self._stored_changes: Mapping[str, bytes] = {}
        with ExitStack() as opened:
            # One daemon has the socket's directory and the ring's port: a second one must not get as far as the state.
            self._listener = opened.enter_context(closing(Listener(run_dir / SOCKET_NAME)))
            self._epoll = opened.enter_context(closing(select.epoll()))
            self._transport = opened.enter_context(closing(self._make_transport()))
            self._state = StateDirectory(state_dir, configuration.local.nodeid)
            self._stored_ring_seq = self._state.load_ring_seq()
            tracked = self._state.load(EV_TRACKING_FILE)
            if managed is not None:
                self._stored_changes = managed.open(configuration)
            self._seal = self._make_seal()
            self._opened = opened.pop_all()
        self._tracked = int.from_bytes(tracked, "little") if tracked and len(tracked) == 4 else None
        self._files: dict[str, bytes] = {}
        self._pending: deque[NodeEffect] = deque()
        self._persisting = False
        self._link_up = True
        self._stalls = Stalls(lambda text: logger.log("warning", "MAIN", text))
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
                if self._managed is not None:
                    nursery.start_soon(self._managed.run)
                self._node.start(trio.current_time())
                self._pump()
                await nursery.start(self._loop.run)
                notify_service_manager("READY=1")
                nursery.start_soon(keep_informed, lambda: summary(self._node))
                await self._ended.wait()
                if self._managed is not None and self._managed.needs_new_start:
                    # This process goes on, and is ready again soon.
                    tell_reloading()
                else:
                    notify_service_manager("STOPPING=1")
                await self._clients.drain()
                with trio.move_on_after(FILES_MAX_S):
                    while self._files or (self._managed is not None and self._managed.busy):
                        await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
        assert self._exit is not None
        return self._exit.status

    def _make_seal(self) -> "SealMaker | None":
        settings = self._configuration.seal
        if settings is None:
            port = self._configuration.transport.port
            text = f"this ring is open: who reaches port {port} of a node can read it, forge it and stop it"
            self._logger.log("warning", "MAIN", f"{text}; seal it by secauth: on and a key (totemctl cluster keygen)")
            return None
        # Imported here, as everything that seals: open rings start without it.
        from totemd.shell.sealing import read_keys, seal_maker

        keys, doubt = read_keys(Path(settings.keyfile))
        if doubt is not None:
            self._logger.log("warning", "SEAL", doubt)
        return seal_maker(settings, keys)

    def _make_transport(self) -> Transport:
        if self._configuration.seal is None:
            return Transport(self._configuration, self._cannot_send, self._epoll)
        from totemd.shell.sealed_transport import SealedTransport

        transport = SealedTransport(self._configuration, self._cannot_send, self._epoll, trio.current_time)
        self._connect = transport.connect
        return transport

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
            seal=self._seal,
            stored_changes=self._stored_changes,
            open_box=None if self._managed is None else self._managed.open_box,
        )
        if self._node.sealing is not None:
            self._connect(self._node.sealing)
        if self._managed is not None:
            self._managed.attach(self._node, self._logger, self._take_configuration, self._pump)
        self._node.machine_statistics = self._statistics
        self._node.clock_ahead_s = time.time() - trio.current_time()
        self._node.front.shared_buffers = FileBuffers()
        self._clients = Clients(self._node, self._listener, self._pump, self._epoll)
        sockets = open_qb_sockets(self._node, self._configuration.system)
        if sockets is not None:
            self._opened.enter_context(closing(sockets))
        self._qb = QbClients(self._node, sockets, self._pump, self._epoll)
        self._loop = Loop(
            self._node,
            self._transport,
            self._clients,
            self._qb,
            self._epoll,
            self._pump,
            self._stalls,
            busy_poll_s=self._configuration.system.busy_poll_us / 1e6,
        )
        self._set_stall_bound()
        # What lives now lives for good; the collector need not look at it in the token's way. Looking once more, for
        # the little that does not live, would take a tenth of the start's time.
        gc.freeze()
        hindrance = raise_priority(self._configuration.system)
        if hindrance is not None:
            self._logger.log("info", "MAIN", hindrance)

    def _emit(self, effect: NodeEffect) -> bool:
        """Perform an effect at once, or queue it behind those that wait for the disk. Whether any do."""
        if not self._persisting:
            if isinstance(effect, Unicast):
                # The token: not a call more than must be.
                self._transport.unicast(effect.nodeid, effect.data)
            elif isinstance(effect, Broadcast):
                # A lone one waits until our own clients have it: sending to many others takes longer than telling them.
                more = self._node.sends_more or not self._transport.unsent
                self._transport.broadcast(effect.data, more=more)
            else:
                self._transport.flush()
                self._perform(effect)
        elif isinstance(effect, SendNow):
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
        """After each input: write to clients, and have the loop see when the node wants to be called."""
        if self._node.ring.core.wanted:
            self._node.use_token(trio.current_time())
        self._qb.flush()
        self._clients.flush()
        self._transport.flush()
        if self._node.front.backlog.too_much:
            self._node.front.backlog.enforce()
            self._qb.flush()
            self._clients.flush()
        self._loop.deadline_stale = True

    def _statistics(self) -> dict[str, object]:
        """What the shell adds to `stats`."""
        return {**self._transport.statistics(), "stalls": self._stalls.statistics()}

    def _set_stall_bound(self) -> None:
        # By then others send the token again, for they believe that it was lost.
        self._stalls.bound_s = self._configuration.totem.token_retransmit_timeout_s

    def _perform(self, effect: NodeEffect) -> None:
        if isinstance(effect, Unicast):
            self._transport.unicast(effect.nodeid, effect.data)
        elif isinstance(effect, Broadcast):
            self._transport.broadcast(effect.data)
        elif isinstance(effect, SendNow):
            self._transport.send_as_it_is(effect.address, effect.data)
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
        elif isinstance(effect, CheckConfiguration | StoreChange | WriteConfiguration):
            assert self._managed is not None, "only there"
            self._managed.perform(effect)
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
        self._take_configuration()
        self._pump()

    def _take_configuration(self) -> None:
        """What is in force may be another one now."""
        self._configuration = self._node.configuration
        self._transport.configure(self._configuration)
        self._set_stall_bound()
        self._logger.configure(self._configuration.logging)

    async def _handle_signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP:
                    tell_reloading()
                    self._node.request_reload(lambda error: notify_service_manager("READY=1", wait_s=0))
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
        with ExitStack() as opened:
            changes = None
            with suppress(OSError):
                changes = opened.enter_context(closing(Changes()))
            while True:
                # What changes is looked at twice: at once, and when it has settled.
                await trio.sleep(self._configuration.totem.downcheck_timeout_s)
                self._look_at_interface()
                if changes is not None and self._link_up:
                    await trio.lowlevel.wait_readable(changes.fileno())
                    changes.forget()
                    self._look_at_interface()

    def _look_at_interface(self) -> None:
        up = address_is_up(self._configuration.transport)
        if up == self._link_up:
            return
        if up:
            try:
                self._transport.reopen()
            except MachineError as error:
                self._logger.log("err", "TOTEM", str(error))
                return
        self._link_up = up
        self._node.interface_changed(up=up, now=trio.current_time())
        self._pump()
