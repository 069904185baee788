"""What the doctor asks this machine: its interface, its bridges, who uses a port, whether its clock is kept."""

import ctypes
import errno
import fcntl
import json
import socket
import struct
import subprocess
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


NFT_PATIENCE_S: Final = 5.0
"""For nft(8), which lists long sets in less."""


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


def input_filters() -> list[str] | None:
    """The chains of nftables ("inet filter input") that may drop what comes in for this machine; None if nobody can
    tell: nft(8) is missing or refuses, or rules are kept in the older tables, which it does not show."""
    try:
        if Path("/proc/net/ip_tables_names").read_text().strip():
            return None
    except OSError:
        # Not there without the older tables, and not readable for everybody.
        pass
    command = ["nft", "--json", "list", "ruleset"]
    try:
        listed = subprocess.run(command, capture_output=True, timeout=NFT_PATIENCE_S, check=True).stdout
        objects = json.loads(listed)["nftables"]
        return _dropping(objects)
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _dropping(objects: list[dict[str, dict[str, object]]]) -> list[str]:
    """Base chains of the hook "input" that drop by policy, or in whose table a rule drops or rejects."""
    refusing = {
        (rule["family"], rule["table"])
        for rule in (entry["rule"] for entry in objects if "rule" in entry)
        if any(not {"drop", "reject"}.isdisjoint(statement) for statement in _statements(rule["expr"]))
    }
    chains = [entry["chain"] for entry in objects if "chain" in entry]
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain.get("hook") == "input"
        and (chain.get("policy") == "drop" or (chain["family"], chain["table"]) in refusing)
    ]


def _statements(value: object) -> list[dict[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
