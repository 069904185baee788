"""UDP datagrams out of a capture file: the front of `totemctl decode`.

Reads classic pcap (both byte orders, microseconds or nanoseconds) with Ethernet, raw IP and Linux "cooked" frames;
IPv4 fragments are put together within bounds, IPv6 extension headers are stepped over. What is not UDP is skipped.
The file may be anybody's: sizes are checked before they are believed, and a bad file ends in OperatorError.
"""

import gzip
import zlib
from collections.abc import Iterator
from io import BytesIO
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import BinaryIO, Final

from totemd.errors import OperatorError
from totemd.record import record

FRAME_BYTES_MAX: Final = 1 << 20
"""One captured frame; the largest that capture programs write is 262144 bytes."""

FRAGMENTED_DATAGRAMS_MAX: Final = 256
"""IPv4 datagrams being put together at once; the oldest is given up for a new one."""

_FILE_HEADER_SIZE: Final = 24
_ETHERNET, _RAW_IP, _RAW_IP_BSD, _LINUX_SLL, _IPV4, _IPV6, _LINUX_SLL2 = 1, 101, 12, 113, 228, 229, 276
_ETHERTYPE_IPV4, _ETHERTYPE_IPV6, _ETHERTYPES_VLAN = 0x0800, 0x86DD, (0x8100, 0x88A8)
_UDP: Final = 17
_IPV6_FRAGMENT: Final = 44
_IPV6_EXTENSIONS: Final = (0, 43, 60, 135)
_UDP_HEADER: Final = Struct(">HHHH")


@record
class Datagram:
    """One UDP payload and where it stood. `frame` is its (last) frame's number, from 1, as Wireshark counts."""

    frame: int
    time_s: float
    source: str
    source_port: int
    destination: str
    destination_port: int
    payload: bytes


@record
class _Udp:
    """An IP payload that is UDP, before its own header is read."""

    source: str
    destination: str
    data: bytes


class _Fragments:
    """IPv4 datagrams that came in pieces."""

    def __init__(self) -> None:
        self._parts: dict[bytes, dict[int, bytes]] = {}
        self._sizes: dict[bytes, int] = {}

    def add(self, key: bytes, offset: int, more: bool, data: bytes) -> bytes | None:
        """Take one fragment; the whole payload when it completes one, else None."""
        if key not in self._parts:
            while len(self._parts) >= FRAGMENTED_DATAGRAMS_MAX:
                self._forget(next(iter(self._parts)))
            self._parts[key] = {}
        parts = self._parts[key]
        if offset + len(data) > 65535:
            self._forget(key)
            return None
        parts[offset] = data
        if not more:
            self._sizes[key] = offset + len(data)
        size = self._sizes.get(key)
        if size is None or sum(map(len, parts.values())) < size:
            return None
        self._forget(key)
        whole = bytearray()
        for start in sorted(parts):
            if start > len(whole):
                return None
            whole[start:] = parts[start]
        return bytes(whole[:size])

    def _forget(self, key: bytes) -> None:
        del self._parts[key]
        self._sizes.pop(key, None)


def read_datagrams(path: str) -> Iterator[Datagram]:
    """Every UDP datagram of the capture at `path` (plain or gzip), in order. OperatorError if it is no capture."""
    try:
        with open(path, "rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if compressed:
                with gzip.open(raw) as stream:
                    yield from _datagrams(stream, path)  # type: ignore[arg-type]  # GzipFile reads like a file
            else:
                yield from _datagrams(raw, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise OperatorError(f"{path}: the gzip data is damaged: {problem}") from problem
    except OSError as problem:
        raise OperatorError(f"{path}: cannot be read: {problem.strerror or problem}") from problem


def parse_datagrams(capture: bytes, name: str = "capture") -> Iterator[Datagram]:
    """Every UDP datagram of a plain capture held in memory."""
    yield from _datagrams(BytesIO(capture), name)


def _datagrams(stream: BinaryIO, name: str) -> Iterator[Datagram]:
    fragments = _Fragments()
    for frame, time_s, link_type, data in _frames(stream, name):
        packet = _network_packet(link_type, data)
        udp = _udp_of(packet, fragments) if packet else None
        if udp is None or len(udp.data) < _UDP_HEADER.size:
            continue
        source_port, destination_port, size, _ = _UDP_HEADER.unpack_from(udp.data)
        payload = udp.data[_UDP_HEADER.size : size] if size >= _UDP_HEADER.size else udp.data[_UDP_HEADER.size :]
        yield Datagram(frame, time_s, udp.source, source_port, udp.destination, destination_port, payload)


def _frames(stream: BinaryIO, name: str) -> Iterator[tuple[int, float, int, bytes]]:
    """(number, seconds since the epoch, link type, bytes) of each frame."""
    header = stream.read(_FILE_HEADER_SIZE)
    order, fraction = _byte_order(header[:4], name)
    if len(header) < _FILE_HEADER_SIZE:
        raise OperatorError(f"{name}: the capture ends inside its file header ({len(header)} of 24 bytes)")
    link_type = Struct(order + "I").unpack_from(header, 20)[0] & 0xFFFF
    supported = (_ETHERNET, _RAW_IP, _RAW_IP_BSD, _LINUX_SLL, _IPV4, _IPV6, _LINUX_SLL2)
    if link_type not in supported:
        raise OperatorError(
            f"{name}: frames of link type {link_type} cannot be read; supported are Ethernet (1), raw IP (12, 101, "
            f"228, 229) and Linux cooked captures (113, 276)"
        )
    record_header = Struct(order + "IIII")
    number = 0
    while head := stream.read(record_header.size):
        number += 1
        if len(head) < record_header.size:
            raise OperatorError(f"{name}: the capture ends inside the header of frame {number}")
        seconds, parts, captured, _ = record_header.unpack(head)
        if captured > FRAME_BYTES_MAX:
            raise OperatorError(
                f"{name}: frame {number} claims {captured} bytes; at most {FRAME_BYTES_MAX} are believed"
            )
        data = stream.read(captured)
        if len(data) < captured:
            raise OperatorError(f"{name}: the capture ends inside frame {number} ({len(data)} of {captured} bytes)")
        yield number, seconds + parts * fraction, link_type, data


def _byte_order(magic: bytes, name: str) -> tuple[str, float]:
    """(struct byte order, seconds per unit of the fraction)."""
    known = {
        b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
        b"\xa1\xb2\xc3\xd4": (">", 1e-6),
        b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
        b"\xa1\xb2\x3c\x4d": (">", 1e-9),
    }
    if magic == b"\x0a\x0d\x0d\x0a":
        raise OperatorError(f"{name}: this is a pcapng file; convert it first: tcpdump -r {name} -w converted.pcap")
    if magic not in known:
        raise OperatorError(
            f"{name}: neither a pcap file (it starts with {magic.hex() or 'nothing'}) nor a gzip of one; for a single "
            f"packet give its bytes in hexadecimal"
        )
    return known[magic]


def _network_packet(link_type: int, frame: bytes) -> bytes:
    """The IP packet in a frame; empty if there is none."""
    if link_type in (_RAW_IP, _RAW_IP_BSD, _IPV4, _IPV6):
        return frame
    if link_type == _LINUX_SLL:
        ethertype, start = int.from_bytes(frame[14:16]), 16
    elif link_type == _LINUX_SLL2:
        ethertype, start = int.from_bytes(frame[0:2]), 20
    else:
        ethertype, start = int.from_bytes(frame[12:14]), 14
    while ethertype in _ETHERTYPES_VLAN and len(frame) >= start + 4:
        ethertype, start = int.from_bytes(frame[start + 2 : start + 4]), start + 4
    return frame[start:] if ethertype in (_ETHERTYPE_IPV4, _ETHERTYPE_IPV6) else b""


def _udp_of(packet: bytes, fragments: _Fragments) -> _Udp | None:
    version = packet[0] >> 4
    if version == 4:
        return _udp_of_ipv4(packet, fragments)
    return _udp_of_ipv6(packet) if version == 6 else None


def _udp_of_ipv4(packet: bytes, fragments: _Fragments) -> _Udp | None:
    header_size = (packet[0] & 15) * 4
    if header_size < 20 or len(packet) < header_size or packet[9] != _UDP:
        return None
    total_size = int.from_bytes(packet[2:4])
    # Offloading network cards let frames with a total length of 0 be captured; then the frame says how long it is.
    data = packet[header_size:total_size] if total_size >= header_size else packet[header_size:]
    flags = int.from_bytes(packet[6:8])
    offset, more = (flags & 0x1FFF) * 8, bool(flags & 0x2000)
    if offset or more:
        whole = fragments.add(packet[4:6] + packet[12:20], offset, more, data)
        if whole is None:
            return None
        data = whole
    return _Udp(str(IPv4Address(packet[12:16])), str(IPv4Address(packet[16:20])), data)


def _udp_of_ipv6(packet: bytes) -> _Udp | None:
    if len(packet) < 40:
        return None
    size = int.from_bytes(packet[4:6])
    following, data = packet[6], packet[40 : 40 + size] if size else packet[40:]
    while following in _IPV6_EXTENSIONS and len(data) >= 8:
        following, data = data[0], data[(data[1] + 1) * 8 :]
    if following == _IPV6_FRAGMENT and len(data) >= 8 and int.from_bytes(data[2:4]) & 0xFFF9 == 0:
        following, data = data[0], data[8:]  # the only fragment of its datagram
    if following != _UDP:
        return None
    return _Udp(str(IPv6Address(packet[8:24])), str(IPv6Address(packet[24:40])), data)
