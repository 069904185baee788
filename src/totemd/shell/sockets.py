"""The ring's sockets: multicast and unicast UDP as corosync lays them out (protocol/, chapter "Packets").

udp:  multicasts arrive at (group, P), tokens at (own address, P); everything leaves from (own address, P - 1).
udpu: everything arrives at and leaves from (own address, P); a multicast is one datagram for each other node.
"""

import errno
import fcntl
import ipaddress
import socket
import struct
from contextlib import suppress

import psutil

from totemd.config.model import TransportKind, TransportSettings
from totemd.errors import MachineError

BUFFER_SIZE = 4 * 1024 * 1024
"""Asked of the kernel for each direction, bytes; a burst from every member must not overflow it."""

IP_MULTICAST_ALL = getattr(socket, "IP_MULTICAST_ALL", 49)
IPV6_MULTICAST_ALL = 29
SO_RCVBUFFORCE = getattr(socket, "SO_RCVBUFFORCE", 33)
SO_SNDBUFFORCE = getattr(socket, "SO_SNDBUFFORCE", 32)
SIOCGIFFLAGS = 0x8913
IFF_UP = 1
_IFREQ_FLAGS = struct.Struct("16sH22x")
"""struct ifreq for the flags of an interface (netdevice(7))."""

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


def machine_addresses() -> list[str]:
    """All numeric addresses of this machine's interfaces, without scopes."""
    addresses = []
    for entries in psutil.net_if_addrs().values():
        addresses += [
            entry.address.partition("%")[0] for entry in entries if entry.family in (socket.AF_INET, socket.AF_INET6)
        ]
    return addresses


def interface_index(address: str) -> int:
    """Index of the interface that has `address`; OSError if none has."""
    name = interface_of(address)
    if name is None:
        raise OSError(errno.EADDRNOTAVAIL, f"no interface has the address {address}")
    return socket.if_nametoindex(name)


def interface_of(address: str) -> str | None:
    """Name of the interface that has `address`."""
    wanted = ipaddress.ip_address(address)
    for name, entries in psutil.net_if_addrs().items():
        for entry in entries:
            if entry.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            if ipaddress.ip_address(entry.address.partition("%")[0]) == wanted:
                return name
    return None


def address_is_up(settings: TransportSettings) -> bool:
    """Whether the machine has our address now, and on an interface that is up (an IPv4 address stays on one that is
    not). When the kernel cannot be asked, say for want of descriptors, nothing is known to be wrong."""
    family = socket.AF_INET6 if settings.ipv6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((settings.local_address, 0))
            name = interface_of(settings.local_address)
            if name is None:
                # 127.0.0.2 and its like are on lo without being listed.
                return True
            request = _IFREQ_FLAGS.pack(name.encode(), 0)
            _, flags = _IFREQ_FLAGS.unpack(fcntl.ioctl(probe, SIOCGIFFLAGS, request))
            return bool(flags & IFF_UP)
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL
