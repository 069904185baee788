"""The ring's sockets: multicast and unicast UDP as corosync lays them out (protocol/, chapter "Packets").

udp:  multicasts arrive at (group, P), tokens at (own address, P); everything leaves from (own address, P - 1).
udpu: everything arrives at and leaves from (own address, P); a multicast is one datagram for each other node.
"""

import socket
import struct
from contextlib import suppress

from totemd.config.model import TransportKind, TransportSettings
from totemd.errors import MachineError
from totemd.shell.addresses import interface_index
from totemd.shell.segments import coalesce

BUFFER_SIZE = 4 * 1024 * 1024
"""Asked of the kernel for each direction, bytes; a burst from every member must not overflow it."""

IP_MULTICAST_ALL = getattr(socket, "IP_MULTICAST_ALL", 49)
IPV6_MULTICAST_ALL = 29
SO_RCVBUFFORCE = getattr(socket, "SO_RCVBUFFORCE", 33)
SO_SNDBUFFORCE = getattr(socket, "SO_SNDBUFFORCE", 32)
TOKEN_PRIORITY = 6
"""SO_PRIORITY of what we send: tokens wait for nobody (socket(7))."""


class RingSockets:
    """The open sockets of one transport; `receivers` in the order in which they must be drained."""

    def __init__(self, settings: TransportSettings) -> None:
        """Open and bind; MachineError names the address and what to look at."""
        self.settings = settings
        self.multicast_receiver: socket.socket | None = None
        self._opened: list[socket.socket] = []
        try:
            self._open(settings)
        except OSError as error:
            self.close()
            raise MachineError(
                f"cannot open the ring's sockets on {settings.local_address} port {settings.port} "
                f"({settings.kind.value}): {error.strerror or error}; is the address up, and is another daemon "
                "(corosync?) using the port?"
            ) from error

    def _open(self, settings: TransportSettings) -> None:
        family = socket.AF_INET6 if settings.ipv6 else socket.AF_INET
        self.token_receiver = self._socket(family, settings.local_address, settings.port)
        if settings.kind is TransportKind.UDPU:
            self.sender = self.token_receiver
            coalesce(self.token_receiver)
            return
        self.sender = self._socket(family, settings.local_address, settings.port - 1)
        # The group's address is for all nodes of this machine; the others are this node's alone.
        group = settings.mcast_address or "255.255.255.255"
        if settings.broadcast:
            group = "255.255.255.255"
            self.sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self.multicast_receiver = self._socket(family, group, settings.port, shared=True)
        elif settings.ipv6:
            self._multicast_ipv6(settings, group)
        else:
            self._multicast_ipv4(settings, group)
        self.multicast_target = (group, settings.port)
        if self.multicast_receiver is not None:
            coalesce(self.multicast_receiver)

    def _multicast_ipv4(self, settings: TransportSettings, group: str) -> None:
        own = socket.inet_aton(settings.local_address)
        receiver = self.multicast_receiver = self._socket(socket.AF_INET, group, settings.port, shared=True)
        receiver.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + own)
        self.sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
        self.sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, settings.ttl)
        # The ring feeds its own packets back to itself. (On lo the kernel loops regardless, for the other nodes.)
        self.sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)

    def _multicast_ipv6(self, settings: TransportSettings, group: str) -> None:
        index = interface_index(settings.local_address)
        receiver = self.multicast_receiver = self._socket(
            socket.AF_INET6, group, settings.port, scope=index, shared=True
        )
        with suppress(OSError):
            receiver.setsockopt(socket.IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0)
        membership = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", index)
        receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
        self.sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        self.sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, settings.ttl)
        self.sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)

    def _socket(self, family: int, address: str, port: int, scope: int = 0, *, shared: bool = False) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        self._opened.append(sock)
        sock.setblocking(False)
        # With it on an address of ours a second daemon would take our tokens away, and neither would be told.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(shared))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, TOKEN_PRIORITY)
        enlarge(sock, socket.SO_RCVBUF, SO_RCVBUFFORCE)
        enlarge(sock, socket.SO_SNDBUF, SO_SNDBUFFORCE)
        sock.bind((address, port, 0, scope) if family == socket.AF_INET6 else (address, port))
        return sock

    def close(self) -> None:
        """Close all of them; again is fine."""
        for sock in self._opened:
            sock.close()
        self._opened = []


def enlarge(sock: socket.socket, option: int, force: int) -> None:
    """Ask for large buffers: beyond the system's limit where we may (CAP_NET_ADMIN), else up to it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, BUFFER_SIZE)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_SIZE)
