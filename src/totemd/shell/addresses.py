"""The machine's own addresses, as the kernel tells them by rtnetlink(7).

Asked at the start and whenever the kernel tells of a change; one question and its answer cost some 30 us.
"""

import errno
import fcntl
import socket
import struct
from collections.abc import Iterator
from typing import Final

from totemd.config.model import TransportSettings
from totemd.errors import MachineError

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
RTM_NEWADDR: Final = 20
RTM_GETADDR: Final = 22
NLM_F_REQUEST: Final = 1
NLM_F_DUMP: Final = 0x300
IFA_ADDRESS: Final = 1
IFA_LOCAL: Final = 2
"""Our end where there is another one, too, which IFA_ADDRESS then has."""

_HEADER: Final = struct.Struct("=IHHII")
_MESSAGE: Final = struct.Struct("=BBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERROR: Final = struct.Struct("=i")
_ANSWER_SIZE_MAX: Final = 1 << 16
"""Of one datagram; the kernel makes them at most half of it."""

_PATIENCE_S: Final = 1.0
"""The kernel has its answer ready at once."""

RTMGRP_LINK: Final = 1
RTMGRP_IPV4_IFADDR: Final = 0x10
RTMGRP_IPV6_IFADDR: Final = 0x100

NOTICES_MAX: Final = 1000
"""Read together; more wait."""

SIOCGIFFLAGS: Final = 0x8913
IFF_UP: Final = 1
_IFREQ_FLAGS: Final = struct.Struct("16sH22x")
"""struct ifreq for the flags of an interface (netdevice(7))."""


class Changes:
    """Becomes readable when an interface or an address of this machine comes, changes or goes."""

    def __init__(self) -> None:
        """OSError if the kernel does not tell."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        try:
            self._socket.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def forget(self) -> None:
        """Drop the notices that wait; what they say is to be asked for."""
        for _ in range(NOTICES_MAX):
            try:
                self._socket.recv(_ANSWER_SIZE_MAX)
            except BlockingIOError:
                return
            except OSError as error:
                # There were more than the kernel keeps: a change, too.
                if error.errno != errno.ENOBUFS:
                    return

    def close(self) -> None:
        self._socket.close()


def machine_addresses() -> list[str]:
    """All numeric addresses of this machine's interfaces, without scopes. MachineError if they cannot be told."""
    try:
        return [
            socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
            for _, packed in _interface_addresses()
        ]
    except OSError as error:
        raise MachineError(f"cannot list the machine's addresses: {error.strerror or error}") from error


def interface_index(address: str) -> int:
    """Index of the interface that has the numeric `address`; OSError if none has."""
    wanted = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    for index, packed in _interface_addresses():
        if packed == wanted:
            return index
    raise OSError(errno.EADDRNOTAVAIL, f"no interface has the address {address}")


def address_is_up(settings: TransportSettings) -> bool:
    """Whether the machine has our address now, and on an interface that is up (an IPv4 address stays on one that is
    not). When the kernel cannot be asked, say for want of descriptors, nothing is known to be wrong."""
    family = socket.AF_INET6 if settings.ipv6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((settings.local_address, 0))
            try:
                name = socket.if_indextoname(interface_index(settings.local_address))
            except OSError:
                # 127.0.0.2 and its like are on lo without being listed.
                return True
            request = _IFREQ_FLAGS.pack(name.encode(), 0)
            _, flags = _IFREQ_FLAGS.unpack(fcntl.ioctl(probe, SIOCGIFFLAGS, request))
            return bool(flags & IFF_UP)
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL


def _interface_addresses() -> Iterator[tuple[int, bytes]]:
    """Each interface's index with each of its packed IPv4 and IPv6 addresses. OSError if the kernel does not tell."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asked:
        asked.settimeout(_PATIENCE_S)
        question = _MESSAGE.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        size = _HEADER.size + len(question)
        asked.sendto(_HEADER.pack(size, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + question, (0, 0))
        while True:
            for kind, body in _messages(asked.recv(_ANSWER_SIZE_MAX)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    (code,) = _ERROR.unpack_from(body)
                    raise OSError(-code, "the kernel does not list addresses")
                if kind == RTM_NEWADDR:
                    *_, index = _MESSAGE.unpack_from(body)
                    address = _own_address(body[_MESSAGE.size :])
                    if address is not None:
                        yield index, address


def _messages(answer: bytes) -> Iterator[tuple[int, bytes]]:
    """The types and bodies of one datagram's messages (netlink(7))."""
    while len(answer) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(answer)
        if not _HEADER.size <= length <= len(answer):
            raise OSError(errno.EBADMSG, "the kernel's answer is cut off")
        yield kind, answer[_HEADER.size : length]
        answer = answer[_aligned(length) :]


def _own_address(attributes: bytes) -> bytes | None:
    found: dict[int, bytes] = {}
    while len(attributes) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(attributes)
        if not _ATTRIBUTE.size <= length <= len(attributes):
            break
        found[kind] = attributes[_ATTRIBUTE.size : length]
        attributes = attributes[_aligned(length) :]
    address = found.get(IFA_LOCAL, found.get(IFA_ADDRESS))
    return address if address is not None and len(address) in (4, 16) else None


def _aligned(length: int) -> int:
    return length + 3 & ~3
