"""Arithmetic on numeric addresses: the multicast address of a cluster's name, node ids, which address is local.

Names are resolved by whoever calls `load`; here is no look-up of any kind.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal, TypeAlias

from totemd.ids import NodeId

IpVersion: TypeAlias = Literal["ipv4", "ipv6", "ipv4-6", "ipv6-4"]
"""`totem.ip_version`: one family alone, or both with the first one preferred."""

Address: TypeAlias = IPv4Address | IPv6Address


def multicast_address(cluster_name: str, link: int = 0, ipv6: bool = False) -> str:
    """The multicast address of a cluster when mcastaddr is absent (protocol/, chapter "Packets").

    Different names can have the same address: 16 bits of the name's last bytes decide, and of those IPv4 merges the
    lower 00 and ff.
    """
    folded = 0
    for byte in cluster_name.encode("utf-8", "surrogatepass"):
        folded = 2 * folded + (byte - 256 if byte > 127 else byte)  # characters are signed on corosync's machines
    identity = (folded + link) & 0xFFFF
    if ipv6:
        return str(ip_address(f"ff15::{identity:x}"))
    return f"239.192.{identity >> 8}.{identity % 255}"


def numeric(text: str) -> Address | None:
    """`text` as an address, or None when it is a name (or nothing)."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_loopback(address: str) -> bool:
    """Whether `address` (numeric) never leaves its machine."""
    return ip_address(address).is_loopback


def same_address(one: str, other: str) -> bool:
    """Whether two numeric addresses are the same, however they are spelt; an IPv6 zone is not compared."""
    first, second = numeric(one), numeric(other)
    return first is not None and second is not None and _without_zone(first) == _without_zone(second)


def is_local(address: str, local_addresses: Iterable[str]) -> bool:
    """Whether `address` is one of this machine's. All loopback addresses are: Linux accepts the whole 127.0.0.0/8."""
    return is_loopback(address) or any(same_address(address, local) for local in local_addresses)


def _without_zone(address: Address) -> tuple[int, int]:
    return address.version, int(address)


def choose(addresses: Iterable[str], ip_version: IpVersion) -> str | None:
    """The first address of the wanted family in the order the resolver gave them (corosync.conf(5), ip_version)."""
    found = [address for address in map(numeric, addresses) if address is not None]
    families = {"ipv4": (4,), "ipv6": (6,), "ipv4-6": (4, 6), "ipv6-4": (6, 4)}[ip_version]
    for family in families:
        for address in found:
            if address.version == family:
                return str(address)
    return None


def nodeid_of(address: str, clear_high_bit: bool) -> NodeId:
    """The node id of a node without one: its IPv4 address as a number, most significant byte first.

    Raises ValueError for IPv6, where corosync demands an explicit id.
    """
    parsed = ip_address(address)
    if parsed.version != 4:
        raise ValueError("an IPv6 address is too long to serve as a node id")
    return int(parsed) & 0x7FFFFFFF if clear_high_bit else int(parsed)


def may_be_network_of(network: str, address: str) -> bool:
    """Whether `network` (numeric) is `address` or could be its network's address under some netmask."""
    base, own = numeric(network), numeric(address)
    if base is None or own is None or base.version != own.version:
        return False
    number = int(base)
    trailing_zeros = (number & -number).bit_length() - 1 if number else base.max_prefixlen
    return int(base) == int(own) or own in ip_network((number, base.max_prefixlen - trailing_zeros))
