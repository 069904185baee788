"""The cmap image of a configuration: its own keys, and those that corosync computes from them (cmap_keys(7))."""

from collections.abc import Mapping, Sequence

from totemd.config.document import Document
from totemd.config.model import AccessSettings, CmapEntry, CmapType, NodeEntry, TransportKind, TransportSettings
from totemd.errors import ConfigError
from totemd.limits import CMAP_KEY_MAX, CMAP_KEY_MIN, CMAP_KEYS_MAX

FILE_KEYS_MAX = CMAP_KEYS_MAX // 10
"""Keys that one file may bring; the cmap holds those of programs as well."""

_RUNTIME_KEYS = (
    "cancel_token_hold_on_retransmit",
    "consensus",
    "downcheck",
    "fail_recv_const",
    "heartbeat_failures_allowed",
    "hold",
    "join",
    "max_messages",
    "max_network_delay",
    "merge",
    "miss_count_const",
    "send_join",
    "seqno_unchanged_const",
    "token",
    "token_retransmit",
    "token_retransmits_before_loss_const",
    "token_warning",
    "window_size",
)


def read_entries(
    document: Document,
    nodes: Sequence[NodeEntry],
    local: NodeEntry,
    transport: TransportSettings,
    times: Mapping[str, int],
    access: AccessSettings,
) -> dict[str, CmapEntry]:
    """All keys with corosync's types; `times` as `timing.derive` gives them. ConfigError: too many keys."""
    entries = _from_file(document)
    for node in nodes:
        entries[f"nodelist.node.{node.position}.nodeid"] = CmapEntry(CmapType.U32, node.nodeid)
    entries["nodelist.local_node_pos"] = CmapEntry(CmapType.U32, local.position)
    entries["totem.interface.0.bindnetaddr"] = CmapEntry(CmapType.STRING, local.addresses[0])
    if transport.kind is TransportKind.UDP:
        if transport.mcast_address is not None and not transport.broadcast:
            entries["totem.interface.0.mcastaddr"] = CmapEntry(CmapType.STRING, transport.mcast_address)
        entries["totem.interface.0.mcastport"] = CmapEntry(CmapType.U16, transport.port)
    for uid in access.uids:
        entries[f"uidgid.config.uid.{uid}"] = CmapEntry(CmapType.U8, 1)
    for gid in access.gids:
        entries[f"uidgid.config.gid.{gid}"] = CmapEntry(CmapType.U8, 1)
    for key in _RUNTIME_KEYS:
        if key in times:
            entries[f"runtime.config.totem.{key}"] = CmapEntry(CmapType.U32, times[key])
    cancel = document.table("totem").flag("cancel_token_hold_on_retransmit")
    entries["runtime.config.totem.cancel_token_hold_on_retransmit"] = CmapEntry(CmapType.U32, int(cancel))
    entries["runtime.config.totem.block_unlisted_ips"] = CmapEntry(CmapType.U32, int(transport.block_unlisted_ips))
    return entries


def _from_file(document: Document) -> dict[str, CmapEntry]:
    entries: dict[str, CmapEntry] = {}
    for table in document.all_tables:
        prefix = f"{table.path}." if table.path else ""
        for key, value in table.values.items():
            if CMAP_KEY_MIN <= len(prefix + key) <= CMAP_KEY_MAX:
                entries[prefix + key] = value.entry
    if len(entries) > FILE_KEYS_MAX:
        raise ConfigError(f"the file has {len(entries)} keys; at most {FILE_KEYS_MAX} are allowed", file=document.file)
    entries.pop("totem.key", None)  # a secret, and every client may read the cmap
    entries.pop("totem.interface.0.linknumber", None)  # already part of the path
    return entries


def lines_of(document: Document) -> tuple[tuple[str, int], ...]:
    """Which line gave which key, for messages."""
    return tuple(
        (f"{table.path}.{key}" if table.path else key, value.line)
        for table in document.all_tables
        for key, value in table.values.items()
    )
