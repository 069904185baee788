"""The probes of a joining machine: from the ring's own sockets, as its daemon will use them."""

import select
import time

from totemd.cluster.join_messages import TEXT_MAX, TEXTS_MAX
from totemd.cluster.probe import PATIENCE_S, PERIOD_S, ProbeOrder, Prober
from totemd.config.model import TransportKind, TransportSettings
from totemd.config.transport import BROADCAST_ADDRESS
from totemd.errors import MachineError
from totemd.limits import DATAGRAM_SIZE_MAX
from totemd.shell.segments import CONTROL_SIZE, split
from totemd.shell.sockets import RingSockets

BATCH_MAX = 1000
"""Datagrams read in a row; a ring that is busy sends many."""


def probe(order: ProbeOrder, address: str) -> tuple[str, ...]:
    """What could not be proven, or why nothing could be; nothing if all is well."""
    settings = TransportSettings(
        kind=TransportKind.UDPU if order.mcast_address is None else TransportKind.UDP,
        local_address=address,
        ipv6=":" in address,
        port=order.port,
        mcast_address=order.mcast_address,
        broadcast=order.mcast_address == BROADCAST_ADDRESS,
        ttl=order.ttl,
        block_unlisted_ips=True,
    )
    try:
        sockets = RingSockets(settings)
    except MachineError as error:
        return (str(error)[:TEXT_MAX],)
    try:
        prober = Prober(order, address)
        _run(prober, sockets, order)
        return tuple(problem[:TEXT_MAX] for problem in prober.problems()[:TEXTS_MAX])
    finally:
        sockets.close()


def _run(prober: Prober, sockets: RingSockets, order: ProbeOrder) -> None:
    receivers = [sockets.token_receiver]
    if sockets.multicast_receiver is not None:
        receivers.append(sockets.multicast_receiver)
    end = time.monotonic() + PATIENCE_S
    while not prober.complete and (now := time.monotonic()) < end:
        for target, data in prober.due():
            where = sockets.multicast_target if target is None else (target, order.port)
            try:
                sockets.sender.sendto(data, where)
            except OSError:
                # A way that does not exist, or an ICMP error of an earlier one: it will be missing.
                continue
        again = now + PERIOD_S
        while not prober.complete and (left := again - time.monotonic()) > 0:
            for receiver in select.select(receivers, [], [], left)[0]:
                for _ in range(BATCH_MAX):
                    try:
                        data, control, _, _ = receiver.recvmsg(DATAGRAM_SIZE_MAX, CONTROL_SIZE)
                    except OSError:
                        break
                    # The kernel may give several at once.
                    for datagram in split(data, control):
                        prober.receive(datagram)
