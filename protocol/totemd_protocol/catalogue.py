"""Every definition by name, and the form of golden vectors (protocol/vectors/, one file for each kind).

A vector has the bytes (`hex`), the `fields` that the definition sees in them, `provenance`, and the ranges `ignored`
([offset, size]): bytes that carry nothing and that real senders fill with whatever their memory held.
"""

from typing import Any

from construct import Construct

from totemd_protocol import groups, native, sealed, services, sync, totem

DEFINITIONS: dict[str, Construct] = {
    **dict(totem.PACKETS.values()),
    "announcement": totem.ANNOUNCEMENT,
    "packed": groups.PACKED,
    "group_message": groups.GROUP_MESSAGE,
    **dict(sync.MESSAGES.values()),
    **dict(services.MESSAGES.values()),
    "native_frame": native.FRAME,
    "sealed": sealed.SEALED,
    **dict(sealed.MESSAGES.values()),
}


def to_json(value: Any) -> Any:
    """`value` with every bytes object as {"hex": ...}."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, list) else value


def from_json(value: Any) -> Any:
    """What `to_json` was given."""
    if isinstance(value, dict):
        if value.keys() == {"hex"}:
            return bytes.fromhex(value["hex"])
        return {key: from_json(item) for key, item in value.items()}
    return [from_json(item) for item in value] if isinstance(value, list) else value
