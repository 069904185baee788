"""`totemctl decode`: a capture file or one packet in hexadecimal, packet by packet, for people or as JSON lines.

The packets are read by the definitions of the specification (protocol/totemd_protocol), not by the daemon's codecs, so
that the output is a second opinion on what is on the wire. That package is imported when the first packet is decoded.
"""

import json
import os
from collections.abc import Iterator
from typing import Any, Final, TextIO

from totemd.cli.pcap import read_datagrams
from totemd.errors import OperatorError
from totemd.record import record

DATA_BYTES_SHOWN: Final = 32
"""Longer data is cut in the output for people; JSON has all of it."""

_HEX_SEPARATORS: Final = str.maketrans("", "", " \t\r\n:-,")
_MEANINGLESS_FIELDS: Final = frozenset({"target_nodeid", "node_id", "version", "reserved1", "reserved2", "status"})
"""Fields that carry nothing; JSON has them."""


@record
class DecodedPacket:
    """One datagram. From a hex string, `frame` is 0, `time_s` is 0 and the addresses are empty."""

    frame: int
    time_s: float
    source: str
    destination: str
    size: int
    description: dict[str, Any]


def decode_input(text_or_path: str) -> Iterator[DecodedPacket]:
    """Every UDP datagram of the capture file of that name, or the one packet whose bytes the text spells in hex.

    OperatorError when it is neither, or when the file is damaged (after the packets in front of the damage).
    """
    if os.path.exists(text_or_path):
        yield from _decode_capture(text_or_path)
    else:
        yield _decode_hex(text_or_path)


def run(source: str, *, as_json: bool, limit: int | None, out: TextIO) -> int:
    """Print the packets of `source`, at most `limit`. Exit status 0, or 1 when some packet could not be read."""
    status, count, start_s = 0, 0, None
    for packet in decode_input(source):
        if limit is not None and count >= limit:
            break
        count += 1
        start_s = packet.time_s if start_s is None else start_s
        print(json_line(packet) if as_json else render(packet, start_s), file=out)
        if has_error(packet.description):
            status = 1
    if count == 0 and limit != 0:
        raise OperatorError(f"{source}: no UDP datagram in this capture")
    return status


def json_line(packet: DecodedPacket) -> str:
    """The packet as one line of JSON; bytes that are no printable ASCII become {"hex": ...}."""
    from totemd_protocol.describe import jsonable

    line: dict[str, Any] = {"size": packet.size, "packet": jsonable(packet.description)}
    if packet.frame:
        where = {"frame": packet.frame, "time": packet.time_s, "source": packet.source, "to": packet.destination}
        line = where | line
    return json.dumps(line)


def render(packet: DecodedPacket, start_s: float = 0.0) -> str:
    """The packet for people, several lines; times count from `start_s`."""
    place = f"{packet.size} bytes"
    if packet.frame:
        time_s = packet.time_s - start_s
        place = f"#{packet.frame}  {time_s:.6f} s  {packet.source} > {packet.destination}  {packet.size} bytes"
    return "\n".join([place, *_lines(packet.description, "", 1)])


def has_error(value: Any) -> bool:
    """Whether anything in a description could not be read."""
    if isinstance(value, dict):
        return isinstance(value.get("error"), dict) or any(has_error(item) for item in value.values())
    return isinstance(value, list) and any(has_error(item) for item in value)


def _decode_capture(path: str) -> Iterator[DecodedPacket]:
    from totemd_protocol.describe import describe

    for datagram in read_datagrams(path):
        yield DecodedPacket(
            datagram.frame,
            datagram.time_s,
            _endpoint(datagram.source, datagram.source_port),
            _endpoint(datagram.destination, datagram.destination_port),
            len(datagram.payload),
            describe(datagram.payload),
        )


def _decode_hex(text: str) -> DecodedPacket:
    from totemd_protocol.describe import describe

    digits = text.translate(_HEX_SEPARATORS)
    digits = digits[2:] if digits[:2] in ("0x", "0X") else digits
    try:
        data = bytes.fromhex(digits)
    except ValueError as problem:
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        raise OperatorError(
            f"{shown!r} is neither a file nor a packet in hexadecimal (an even number of digits 0-9 and a-f)"
        ) from problem
    if not data:
        raise OperatorError("nothing to decode: give the name of a capture file or a packet in hexadecimal")
    return DecodedPacket(0, 0.0, "", "", len(data), describe(data))


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _lines(fields: dict[str, Any], name: str, depth: int) -> Iterator[str]:
    """One line with the plain values of `fields`, then its nested parts, deeper."""
    kind = fields.get("kind", name)
    words = [name] if name and name != kind else []
    words += [kind] if kind else []
    nested: list[tuple[str, Any]] = []
    for key, value in fields.items():
        if key == "kind" or key in _MEANINGLESS_FIELDS:
            continue
        if _is_nested(value):
            nested.append((key, value))
        else:
            words.append(f"{key} {_value(kind, key, value)}")
    yield "  " * depth + "  ".join(words)
    for key, value in nested:
        for item in value if isinstance(value, list) else [value]:
            yield from _lines(item, key, depth + 1)


def _is_nested(value: Any) -> bool:
    if isinstance(value, dict):
        return not _is_ring(value)
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _is_ring(value: dict[str, Any]) -> bool:
    return value.keys() == {"rep", "seq"}


def _value(kind: str, key: str, value: Any) -> str:
    from totemd_protocol.words import words_for

    if isinstance(value, dict):
        return f"{value['rep']:x}.{value['seq']:x}"
    if isinstance(value, bytes):
        return _bytes(value)
    if isinstance(value, list):
        return "[" + " ".join(_value(kind, key, item) for item in value) + "]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        words = words_for(kind, key, value)
        return f"{value} ({words})" if words else str(value)
    return str(value)


def _bytes(value: bytes) -> str:
    shown = value[:DATA_BYTES_SHOWN]
    text = repr(shown.decode("ascii")) if all(0x20 <= byte < 0x7F for byte in shown) else shown.hex()
    return text if len(value) <= DATA_BYTES_SHOWN else f"{text}... ({len(value)} bytes)"
