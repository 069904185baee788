"""The ring's datagrams in and out, in bounded batches and without waiting.

Per wake-up: read a token, then drain the multicasts (all that was sent before that token is there by then, and must be
handled before it), and hand everything to the node at once. The loop's epoll has both sockets, so that it costs one
wait per token, not one per socket or packet. Multicasts of one visit of the token leave together.
"""

import select
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final

from totemd.config.model import Configuration, TransportKind
from totemd.ids import NodeId
from totemd.limits import DATAGRAM_SIZE_MAX
from totemd.node.arrival import Datagram
from totemd.shell.segments import CONTROL_SIZE, REFUSALS, SEGMENTS_MAX, can_segment, runs, send_together, split
from totemd.shell.sockets import RingSockets
from totemd.wire.packets import PacketType

TYPE_OFFSET: Final = 3
TOKEN_SEQ_END: Final = 17
"""Where packets have their type, and the ordering token its seq (protocol/, chapter "Packets")."""

BATCH_MAX: Final = 600
"""Datagrams read per wake-up, but for the rest of one call: clients and timers get their turn under any flood."""


def _last_message(data: bytes) -> int:
    """The number of the last message that an ordering token counts; beyond all numbers for anything else."""
    if len(data) < TOKEN_SEQ_END or data[TYPE_OFFSET] != PacketType.ORF_TOKEN:
        return 1 << 32
    return int.from_bytes(data[TOKEN_SEQ_END - 4 : TOKEN_SEQ_END], "little")


class Transport:
    """Sends and receives for one node; may be reopened after its interface was away."""

    def __init__(
        self, configuration: Configuration, cannot_send: Callable[[str, str], None], epoll: select.epoll
    ) -> None:
        """`cannot_send` is told of each datagram that the machine refuses to send: to which address, and why. `epoll`
        becomes readable when a datagram is waiting. MachineError if the sockets cannot be opened."""
        self._cannot_send = cannot_send
        self._drained = True
        self.receive_errors: Counter[str] = Counter()
        self.send_errors: Counter[str] = Counter()
        self._sockets = RingSockets(configuration.transport)
        self._epoll = epoll
        self.unsent: list[bytes] = []
        """Multicasts that `flush` sends."""
        self.token_descriptor = self.data_descriptor = -1
        """Of the sockets that datagrams come from (by udpu all come to the second); changed by `reopen`."""
        self._register()
        self.configure(configuration)

    def configure(self, configuration: Configuration) -> None:
        """Take the (new) nodelist."""
        settings = configuration.transport
        self._settings = settings
        self._targets: dict[NodeId, tuple[str, int]] = {
            node.nodeid: (node.address, settings.port) for node in configuration.nodes
        }
        self._others = [target for nodeid, target in self._targets.items() if nodeid != configuration.local.nodeid]

    def statistics(self) -> dict[str, object]:
        """Datagrams that the machine would not send or give us, by what it said."""
        return {"send_errors": dict(self.send_errors), "receive_errors": dict(self.receive_errors)}

    def _register(self) -> None:
        self._token_receiver: socket.socket | None = None
        self._data_receiver = self._sockets.token_receiver
        if self._sockets.multicast_receiver is not None:
            self._token_receiver, self._data_receiver = self._data_receiver, self._sockets.multicast_receiver
        self._together = can_segment(self._sockets.sender)
        self.token_descriptor = -1 if self._token_receiver is None else self._token_receiver.fileno()
        self.data_descriptor = self._data_receiver.fileno()
        for descriptor in (self.token_descriptor, self.data_descriptor):
            if descriptor >= 0:
                self._epoll.register(descriptor, select.EPOLLIN)

    def reopen(self) -> None:
        """Open the sockets afresh (a group membership is gone with its interface). MachineError if that fails: nothing
        is sent or received then until another try succeeds."""
        # Closed first, for the address is ours alone; the epoll forgets them by itself.
        self._sockets.close()
        # A client may get these numbers before another try succeeds.
        self.token_descriptor = self.data_descriptor = -1
        self._sockets = RingSockets(self._settings)
        self._register()

    def close(self) -> None:
        """Close everything."""
        self._sockets.close()

    def receive_token(self) -> Datagram | None:
        """What waits on the socket for tokens alone, if there is one."""
        if self._token_receiver is None:
            return None
        try:
            data, source = self._token_receiver.recvfrom(DATAGRAM_SIZE_MAX)
        except BlockingIOError:
            return None
        except OSError as error:
            self.receive_errors[error.strerror or "error"] += 1
            return None
        return data, source[0].partition("%")[0]

    def receive(
        self,
        has_all_up_to: Callable[[int], bool],
        token: Datagram | None = None,
        *,
        tokens: bool = True,
        data: bool = True,
    ) -> tuple[list[Datagram], bool]:
        """What is waiting, behind a `token` read already, and whether that was all of it. `has_all_up_to` is the
        node's; `tokens` and `data` are False where the caller knows that nothing was waiting on that socket."""
        if token is None and tokens:
            # One token is all that a healthy ring has; should there be more, the next turn comes at once.
            token = self.receive_token()
        # Not twice in a row while messages wait, lest a stranger's tokens keep us from them.
        if token is not None and (self._drained or not data) and has_all_up_to(_last_message(token[0])):
            # Nothing that this token counts is missing: it goes on first, the rest wakes us again.
            self._drained = not data
            return [token], False
        datagrams = [] if token is None else [token]
        self._drained = True
        return datagrams, self._drain(datagrams, BATCH_MAX)

    def _drain(self, into: list[Datagram], limit: int) -> bool:
        """Read messages until there are none, or `limit` or some more have been read. Whether there are none."""
        receive = self._data_receiver.recvmsg
        while len(into) < limit:
            try:
                data, control, _, source = receive(DATAGRAM_SIZE_MAX, CONTROL_SIZE)
            except BlockingIOError:
                return True
            except OSError as error:
                # An ICMP error of an earlier send, or the interface going down.
                self.receive_errors[error.strerror or "error"] += 1
                return True
            address = source[0].partition("%")[0]
            if control:
                into += [(part, address) for part in split(data, control)]
            else:
                into.append((data, address))
        return False

    def broadcast(self, data: bytes, *, more: bool = False) -> None:
        """To every other node. `more`: another one may follow at once, and this one may wait for it until `flush` or a
        unicast."""
        self.unsent.append(data)
        if not more or len(self.unsent) >= SEGMENTS_MAX:
            self.flush()

    def flush(self) -> None:
        """Send the multicasts that wait."""
        datagrams = self.unsent
        if not datagrams:
            return
        self.unsent = []
        for target in self._everybody():
            if len(datagrams) == 1:
                self._send(datagrams[0], target)
            else:
                self._send_many(datagrams, target)

    def _send_many(self, datagrams: list[bytes], target: tuple[str, int]) -> None:
        for run in runs(datagrams):
            if len(run) == 1 or not self._together or not self._send_run(run, target):
                for data in run:
                    self._send(data, target)

    def _send_run(self, run: list[bytes], target: tuple[str, int]) -> bool:
        """Send datagrams in one call; False if they must be sent one by one, as all from here on."""
        try:
            send_together(self._sockets.sender, run, target)
        except OSError as error:
            if error.errno in REFUSALS:
                self._together = False
                return False
            self._lost(error, target, len(run))
        return True

    def unicast(self, nodeid: NodeId, data: bytes) -> None:
        """To one node."""
        if self.unsent:
            self.flush()
        target = self._targets.get(nodeid)
        if target is not None:
            self._send(data, target)

    def send_as_it_is(self, address: str | None, data: bytes) -> None:
        """To the node at that address, or to every other node, whatever else is sent or waits."""
        if address is not None:
            self._send(data, (address, self._settings.port))
            return
        for target in self._everybody():
            self._send(data, target)

    def _everybody(self) -> list[tuple[str, int]]:
        return [self._sockets.multicast_target] if self._settings.kind is TransportKind.UDP else self._others

    def _send(self, data: bytes, target: tuple[str, int]) -> None:
        try:
            self._sockets.sender.sendto(data, target)
        except OSError as error:
            self._lost(error, target, 1)

    def _lost(self, error: OSError, target: tuple[str, int], count: int) -> None:
        # Like on the wire; the ring repairs it or notices that it is alone.
        reason = error.strerror or "error"
        self.send_errors[reason] += count
        self._cannot_send(target[0], reason)
