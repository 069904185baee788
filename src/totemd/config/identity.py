"""Who the nodes of a managed cluster are: cluster id, uuids, public keys, and the tombstones of removed nodes."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Final

from totemd.config.document import Document, Table
from totemd.config.model import NodeEntry, RemovedNode
from totemd.ids import NodeId

PUBLIC_KEY_SIZE: Final = 32

LOW_ORDER_POINTS: Final = frozenset(
    point.to_bytes(PUBLIC_KEY_SIZE, "little")
    for point in (
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        2**255 - 20,
        2**255 - 19,
        2**255 - 18,
    )
)
"""Public keys with which X25519 gives zero whatever the private key is (RFC 7748, section 6.1; the points in D. J.
Bernstein's list), with the highest bit, which does not count, clear."""

_IDENT: Final = re.compile(r"[0-9a-fA-F]{32}")


def read_ident(table: Table, key: str) -> str | None:
    """The 16 bytes `key` as 32 hex digits in small letters, or None if it is absent. ConfigError."""
    text = table.text(key)
    if text is None:
        return None
    if not _IDENT.fullmatch(text) or not int(text, 16):
        raise table.error(key, f'expected 32 hex digits that are not all zero, but "{text}" was given')
    return text.lower()


def read_public_key(table: Table) -> bytes | None:
    """`public_key`, or None if it is absent. ConfigError."""
    text = table.text("public_key")
    if text is None:
        return None
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != PUBLIC_KEY_SIZE:
        raise table.error("public_key", f'expected base64 of {PUBLIC_KEY_SIZE} bytes, but "{text}" was given')
    if is_low_order(key):
        raise table.error("public_key", f"{text} is a key with which nothing can be sealed; the node has to join anew")
    return key


def read_cluster_id(document: Document) -> bytes | None:
    """The id that makes the cluster a managed one. ConfigError."""
    ident = read_ident(document.table("totem"), "cluster_id")
    return None if ident is None else bytes.fromhex(ident)


def read_removed(document: Document, nodes: Sequence[NodeEntry], override: str | None) -> tuple[RemovedNode, ...]:
    """The tombstones, held against the nodelist. ConfigError: an id or uuid that is there twice, or this node, which
    was said to be `override`, is under them."""
    ids: dict[NodeId, Table] = {}
    uuids: dict[str, tuple[str, Table]] = {}
    removed = tuple(_read_tombstone(table) for table in document.removed)
    for tomb, table in zip(removed, document.removed, strict=True):
        if tomb.nodeid in ids:
            line = ids[tomb.nodeid].line_of("nodeid")
            raise table.error("nodeid", f"{tomb.nodeid} is also the id of the removed node at line {line}; remove one")
        ids[tomb.nodeid] = table
        if tomb.uuid is not None:
            uuids[tomb.uuid] = "removed node", table
    for node, table in zip(nodes, document.nodes, strict=True):
        if node.nodeid in ids:
            line = ids[node.nodeid].line_of("nodeid")
            text = f"{node.nodeid} is also the id of the removed node at line {line}; such an id is never used again"
            raise table.error("nodeid", f"{text}: choose another")
        if node.uuid is not None:
            kind, other = uuids.setdefault(node.uuid, ("node", table))
            if other is not table:
                text = f"{node.uuid} is also the uuid of the {kind} at line {other.line_of('uuid')}"
                raise table.error("uuid", f"{text}; each machine has its own, which it gets when it joins")
    if not any(override in (str(node.nodeid), node.name) for node in nodes):
        _check_not_removed(document, removed, override)
    _warn_of_nameless(document, nodes)
    return removed


def _check_not_removed(document: Document, removed: Sequence[RemovedNode], override: str | None) -> None:
    for tomb, table in zip(removed, document.removed, strict=True):
        if override is not None and override in (str(tomb.nodeid), tomb.name):
            name = f" ({tomb.name})" if tomb.name else ""
            raise table.error(
                "nodeid",
                f"this node, {tomb.nodeid}{name}, was removed from the cluster in version {tomb.version} of the "
                "configuration; it can join again with a ticket, as a new node",
            )


def _read_tombstone(table: Table) -> RemovedNode:
    nodeid = table.number("nodeid")
    if nodeid is None:
        raise table.error("nodeid", "missing; say which node was removed")
    return RemovedNode(
        nodeid=nodeid,
        name=table.text("name") or None,
        uuid=read_ident(table, "uuid"),
        version=table.number("version") or 0,
    )


def _warn_of_nameless(document: Document, nodes: Sequence[NodeEntry]) -> None:
    if "cluster_id" not in document.table("totem").values:
        return
    for node, table in zip(nodes, document.nodes, strict=True):
        if node.uuid is None:
            document.warn(table.warning("uuid", f"missing: whoever has the cluster's key may be node {node.nodeid}"))


def is_low_order(public_key: bytes) -> bool:
    """Whether nothing can be put into a box for the key."""
    return public_key[:-1] + bytes([public_key[-1] & 0x7F]) in LOW_ORDER_POINTS
