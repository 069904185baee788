"""What the doctor asks this machine: its interface, its bridges, who uses a port, whether its clock is kept."""

import ctypes
import errno
import fcntl
import socket
import struct
from pathlib import Path
from typing import Final

from totemd.record import record
from totemd.shell.addresses import interface_index

SIOCGIFFLAGS: Final = 0x8913
SIOCGIFMTU: Final = 0x8921
IFF_UP: Final = 0x1
IFF_LOOPBACK: Final = 0x8
IFF_RUNNING: Final = 0x40
IFF_MULTICAST: Final = 0x1000
"""netdevice(7)"""

_FLAGS: Final = struct.Struct("16sH22x")
_MTU: Final = struct.Struct("16si20x")
_STA_UNSYNC: Final = 0x40
"""adjtimex(2)"""
_TIMEX_BYTES: Final = 512
"""More than any machine's struct timex; `modes` is its first field, `status` the fifth word of its longs."""


@record
class Interface:
    """An interface as the kernel sees it."""

    name: str
    flags: int
    mtu_bytes: int


def interface_of(address: str) -> Interface | None:
    """The interface that has the numeric `address`; lo for loopback addresses, None if none has it. OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return None
            raise
        try:
            name = socket.if_indextoname(interface_index(address))
        except OSError:
            name = "lo"
        _, flags = _FLAGS.unpack(fcntl.ioctl(probe, SIOCGIFFLAGS, _FLAGS.pack(name.encode(), 0)))
        _, mtu = _MTU.unpack(fcntl.ioctl(probe, SIOCGIFMTU, _MTU.pack(name.encode(), 0)))
    return Interface(name, flags, mtu)


def bridge_of(interface: str, sys: Path = Path("/sys/class/net")) -> str | None:
    """The bridge that the interface is, or is a port of."""
    if (sys / interface / "bridge").is_dir():
        return interface
    master = sys / interface / "master"
    if master.exists() and (master / "bridge").is_dir():
        return master.resolve().name
    return None


def snooping(bridge: str, sys: Path = Path("/sys/class/net")) -> tuple[bool, bool] | None:
    """Whether the bridge snoops IGMP, and whether it asks by itself who listens (is a querier); None: it cannot be
    told."""
    values = []
    for name in ("multicast_snooping", "multicast_querier"):
        try:
            values.append((sys / bridge / "bridge" / name).read_text().strip() == "1")
        except OSError:
            return None
    return values[0], values[1]


def port_is_free(address: str, port: int) -> bool | None:
    """Whether nobody uses the UDP port on this address; None: it cannot be told."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, port))
        except OSError as error:
            return False if error.errno == errno.EADDRINUSE else None
    return True


def clock_is_kept() -> bool | None:
    """Whether something keeps the clock at the right time (adjtimex(2)); None: the kernel does not say."""
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        result = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    if result < 0:
        return None
    word = ctypes.sizeof(ctypes.c_long)
    status = int.from_bytes(buffer.raw[5 * word : 5 * word + 4], "little" if struct.pack("=H", 1)[0] else "big")
    return not status & _STA_UNSYNC
