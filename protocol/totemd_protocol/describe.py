"""A datagram as nested fields, for people and for JSON.

Nothing is reassembled: a message that lies whole in one datagram is decoded down to its service, a piece of a longer
one is shown as such. Hostile bytes end in an `error` entry that says what was wrong and how far the reading came.
"""

from typing import Any

from construct import Construct, ConstructError, Container, ListContainer

from totemd_protocol import groups, sealed, services, sync, totem

Description = dict[str, Any]


class _Unreadable(Exception):
    """What is wrong with the bytes, in words."""


def describe(datagram: bytes) -> Description:
    """The packet as a dict: `kind`, the header's and the packet's fields, or `error` with a `reason`. Never raises."""
    try:
        return _sealed(datagram) if datagram.startswith(sealed.MAGIC) else _packet(datagram, nested=False)
    except _Unreadable as problem:
        return _error(str(problem), datagram)


def jsonable(value: Any) -> Any:
    """`value` with every bytes object made a JSON value: text where it is printable ASCII, else {"hex": ...}."""
    if isinstance(value, bytes):
        return value.decode("ascii") if _is_printable(value) else {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value


def plain(value: Any) -> Any:
    """Parsed values without construct's own types and bookkeeping, and without what is not there."""
    if isinstance(value, Container):
        return {key: plain(item) for key, item in value.items() if not key.startswith("_") and item is not None}
    if isinstance(value, ListContainer):
        return [plain(item) for item in value]
    return value


def _is_printable(value: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in value)


def _error(reason: str, data: bytes) -> Description:
    return {"error": {"reason": reason, "size": len(data), "starts": data[:32]}}


def _parse(definition: Construct, data: bytes, what: str) -> Description:
    try:
        parsed: Description = plain(definition.parse(data))
    except (ConstructError, ArithmeticError, ValueError, OverflowError, MemoryError) as problem:
        raise _Unreadable(f"{what}: {_words(problem)}") from problem
    return parsed


def _words(problem: BaseException) -> str:
    """Construct's message without its path line, on one line."""
    lines = [line for line in str(problem).splitlines() if line and not line.startswith("Error in path")]
    return "; ".join(lines) or type(problem).__name__


def _sealed(data: bytes) -> Description:
    """What a sealed datagram shows to who has no key: its header, and how much is in it."""
    fields = _parse(sealed.SEALED, data, "sealed datagram")
    size = len(fields.pop("sealed")) - sealed.TAG_SIZE
    del fields["magic"]
    return {"kind": "sealed", **fields, "size": size}


def _packet(data: bytes, *, nested: bool) -> Description:
    _check_header(data)
    kind = data[3]
    name, definition = totem.PACKETS[kind]
    fields = _parse(definition, data, name)
    header = fields.pop("header")
    if kind == totem.JOIN_TYPE and header["nodeid"] == 0:
        name = "leave"
    described: Description = {"kind": name, "nodeid": header["nodeid"], "target_nodeid": header["target_nodeid"]}
    if kind == totem.MCAST_TYPE:
        described["encapsulated"] = header["encapsulated"] == totem.ENCAPSULATED
        payload = fields.pop("payload")
        described |= fields
        described |= _payload(payload, encapsulated=described["encapsulated"], nested=nested)
        return described
    return described | fields


def _check_header(data: bytes) -> None:
    if len(data) < totem.HEADER_SIZE:
        raise _Unreadable(f"shorter than a header: {len(data)} of {totem.HEADER_SIZE} bytes")
    magic = int.from_bytes(data[:2], "little")
    if magic == int.from_bytes(totem.MAGIC.to_bytes(2, "little"), "big"):
        raise _Unreadable("from a big-endian peer: the magic number's bytes are swapped")
    if magic != totem.MAGIC:
        raise _Unreadable(f"wrong magic number 0x{magic:04x} instead of 0x{totem.MAGIC:04x}")
    if data[2] != totem.VERSION:
        raise _Unreadable(f"wrong version {data[2]} instead of {totem.VERSION}")
    if data[3] not in totem.PACKETS:
        raise _Unreadable(f"unknown packet type {data[3]}")


def _payload(payload: bytes, *, encapsulated: bool, nested: bool) -> Description:
    """What an mcast carries: an old ring's mcast, or packed pieces of messages."""
    if not encapsulated:
        try:
            return {"packed": _packed(payload)}
        except _Unreadable as problem:
            return {"packed": _error(str(problem), payload)}
    if nested:
        return {"inner": _error("a recovery message inside a recovery message", payload)}
    try:
        inner = _packet(payload, nested=True)
    except _Unreadable as problem:
        return {"inner": _error(str(problem), payload)}
    if inner["kind"] != "mcast":
        return {"inner": _error(f"a recovery message that carries a {inner['kind']}", payload)}
    return {"inner": inner}


def _packed(payload: bytes) -> Description:
    fields = _parse(groups.PACKED, payload, "packed messages")
    pieces = fields.pop("pieces")
    fields.pop("lengths")
    last = len(pieces) - 1
    fields["pieces"] = [
        _piece(
            piece,
            continues=index == 0 and fields["continuation"] != 0,
            unfinished=index == last and fields["fragmented"] != 0,
        )
        for index, piece in enumerate(pieces)
    ]
    return fields


def _piece(piece: bytes, *, continues: bool, unfinished: bool) -> Description:
    if continues or unfinished:
        part = "middle" if continues and unfinished else "end" if continues else "beginning"
        return {"size": len(piece), "part": part, "data": piece}
    try:
        return {"size": len(piece), **_message(piece)}
    except _Unreadable as problem:
        return {"size": len(piece), **_error(str(problem), piece)}


def _message(message: bytes) -> Description:
    fields = _parse(groups.GROUP_MESSAGE, message, "group header")
    names, body = fields["groups"], fields["body"]
    if names == [groups.SYNC_GROUP]:
        return {"groups": names, "message": _body(body, synchronization=True)}
    if names == [groups.SERVICE_GROUP]:
        return {"groups": names, "message": _body(body, synchronization=False)}
    return {"groups": names, "body": body}


def _body(body: bytes, *, synchronization: bool) -> Description:
    if len(body) < 16:
        raise _Unreadable(f"message shorter than its header: {len(body)} of 16 bytes")
    ident = int.from_bytes(body[:4], "little")
    service, function = ident >> 16, ident & 0xFFFF
    found = sync.MESSAGES.get(ident) if synchronization else services.MESSAGES.get((service, function))
    if found is None:
        where = "sync" if synchronization else services.SERVICE_NAMES.get(service, f"service {service}")
        return {"kind": f"unknown ({where}, function {function})", "data": body[16:]}
    name, definition = found
    fields = _parse(definition, body, name)
    fields.pop("id")
    return {"kind": name, **fields}
