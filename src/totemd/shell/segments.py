"""Many datagrams in one system call: UDP_SEGMENT and UDP_GRO (udp(7)). On the wire they are what they were.

A sender hands the kernel datagrams of one size, the last of which may be shorter; where the kernel or a device refuses
that, they are sent one by one. A receiver is given what arrived in a row together, with the size of each.
"""

import errno
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from struct import Struct
from typing import Final

SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104
"""linux/udp.h"""

SEGMENTS_MAX: Final = 64
SEGMENTS_BYTES_MAX: Final = 65000
"""Of one call: no more than 65507 bytes fit (IPv4), and kernels before 6.9 take no more than 64 datagrams."""

REFUSALS: Final = frozenset((errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP, errno.ENOPROTOOPT))
"""What a kernel or device says that cannot do it, or not for datagrams so large."""

_SIZE: Final = Struct("=H")
_RECEIVED_SIZE: Final = Struct("=i")
CONTROL_SIZE: Final = socket.CMSG_SPACE(_RECEIVED_SIZE.size)
"""Room for what the kernel says about received datagrams, bytes."""

Control = list[tuple[int, int, bytes]]
"""Control messages as `recvmsg` gives them."""


def can_segment(sock: socket.socket) -> bool:
    """Whether the kernel knows how; devices may still refuse."""
    try:
        sock.getsockopt(SOL_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True


def coalesce(sock: socket.socket) -> None:
    """Have the kernel give `sock` many datagrams at once, if it knows how."""
    with suppress(OSError):
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)


def send_together(sock: socket.socket, run: list[bytes], target: tuple[str, int]) -> None:
    """Send what `runs` has put together. OSError; one of REFUSALS: nothing was sent, and must be one by one."""
    sock.sendmsg(run, [(SOL_UDP, UDP_SEGMENT, _SIZE.pack(len(run[0])))], 0, target)


def runs(datagrams: Iterable[bytes]) -> Iterator[list[bytes]]:
    """In order, what may go in one call each: one size, the last may be shorter."""
    run: list[bytes] = []
    size = left = 0
    for data in datagrams:
        length = len(data)
        if run and (not 0 < length <= size or length > left or len(run) >= SEGMENTS_MAX or len(run[-1]) < size):
            yield run
            run = []
        if not run:
            size, left = length, SEGMENTS_BYTES_MAX
        run.append(data)
        left -= length
    if run:
        yield run


def split(data: bytes, control: Control) -> list[bytes]:
    """The datagrams that were received together as `data`; `control` is the kernel's word on it."""
    for level, kind, value in control:
        if level == SOL_UDP and kind == UDP_GRO and len(value) >= _RECEIVED_SIZE.size:
            (size,) = _RECEIVED_SIZE.unpack_from(value)
            if 0 < size < len(data):
                return [data[at : at + size] for at in range(0, len(data), size)]
    return [data]
