"""The doctor's sockets: the same kinds as the ring's, on another port, so that what passes them passes for the ring."""

import errno
import select
import socket
import time
from contextlib import suppress
from dataclasses import replace
from typing import Final

from totemd.cli.doctor_exchange import Exchange
from totemd.config.model import TransportKind, TransportSettings
from totemd.shell.segments import CONTROL_SIZE, split
from totemd.shell.sockets import RingSockets

PERIOD_S: Final = 0.2
BRIEF_S: Final = 60.0
"""Who listens for longer wants to know what time changes."""
LINGER_S: Final = 4 * PERIOD_S
"""How long it goes on then, so that the others learn as much."""
PORT_DISTANCE: Final = 10
"""From the ring's port to the doctor's; two are used, as by the ring."""

_IP_MTU_DISCOVER: Final = 10
_IPV6_MTU_DISCOVER: Final = 23
_PMTUDISC_DO: Final = 2
"""linux/in.h: never fragment; a datagram that is too large for the way is refused or lost."""


def probe(settings: TransportSettings, port: int, exchange: Exchange, seconds: float) -> tuple[str, ...]:
    """Send and hear probes for so long, or, up to BRIEF_S, until there is nothing more to learn. Gives what the machine
    refused to send. MachineError if the port is taken."""
    sockets = RingSockets(replace(settings, port=port))
    refused: dict[str, None] = {}
    try:
        _never_fragment(sockets, ipv6=settings.ipv6)
        receivers = [sockets.token_receiver]
        if sockets.multicast_receiver is not None:
            receivers.append(sockets.multicast_receiver)
        end = time.monotonic() + seconds
        next_probe, full = 0.0, False
        multicast, enough = settings.kind is TransportKind.UDP, False
        while (now := time.monotonic()) < end:
            if now >= next_probe:
                next_probe, full = now + PERIOD_S, not full
                _send(sockets, settings, exchange, port, full, refused)
            readable, _, _ = select.select(receivers, (), (), max(0.0, min(next_probe, end) - time.monotonic()))
            for receiver in readable:
                _receive(receiver, exchange)
            if not enough and seconds <= BRIEF_S and exchange.complete(multicast=multicast):
                enough, end = True, min(end, time.monotonic() + LINGER_S)
    finally:
        sockets.close()
    return tuple(refused)


def _never_fragment(sockets: RingSockets, *, ipv6: bool) -> None:
    level, option = (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER) if ipv6 else (socket.IPPROTO_IP, _IP_MTU_DISCOVER)
    with suppress(OSError):
        sockets.sender.setsockopt(level, option, _PMTUDISC_DO)


def _send(
    sockets: RingSockets,
    settings: TransportSettings,
    exchange: Exchange,
    port: int,
    full: bool,
    refused: dict[str, None],
) -> None:
    targets = [(peer.address, port, False) for peer in exchange.peers.values()]
    if settings.kind is TransportKind.UDP:
        group, group_port = sockets.multicast_target
        targets.append((group, group_port, True))
    for address, target_port, to_all in targets:
        data = exchange.probe(time.time(), to_all=to_all, full=full)
        try:
            sockets.sender.sendto(data, (address, target_port))
        except OSError as error:
            # ECONNREFUSED says that an earlier probe found nobody listening: no news.
            if error.errno not in (errno.ECONNREFUSED, errno.EAGAIN) and len(refused) < 20:
                size = f"{len(data)} bytes " if error.errno == errno.EMSGSIZE else ""
                refused[f"{size}to {address}: {error.strerror}"] = None


def _receive(receiver: socket.socket, exchange: Exchange) -> None:
    for _ in range(1000):
        try:
            data, control, _, source = receiver.recvmsg(65536, CONTROL_SIZE)
        except OSError:
            return
        for datagram in split(data, control):
            exchange.receive(datagram, str(source[0]).partition("%")[0], time.time())
