"""The messages that services exchange, bodies in group "a" (chapter "Services")."""

from construct import (
    Array,
    Bytes,
    Check,
    Construct,
    Int8ub,
    Int32sl,
    Int32ul,
    Int64ul,
    Padding,
    Rebuild,
    Struct,
    len_,
    this,
)

from totemd_protocol import changes
from totemd_protocol.common import (
    CPG_NAME,
    NAME,
    PROCESSOR_COUNT_MAX,
    SOURCE,
    aligned,
    c_string,
    message_header,
)

CMAP, CFG, CPG, QUORUM, PLOAD, VOTEQUORUM = range(6)

SERVICE_NAMES = {
    CMAP: "cmap",
    CFG: "cfg",
    CPG: "cpg",
    QUORUM: "quorum",
    PLOAD: "pload",
    VOTEQUORUM: "votequorum",
    changes.CHANGES: "changes",
}

CMAP_VALUE_MAX = 16384


def _header(service: int, function: int) -> tuple[Construct, ...]:
    return message_header(service << 16 | function)


CMAP_ITEM = Struct(
    "name" / NAME,
    *aligned("type" / Int8ub, 1),
    "length" / Rebuild(Int64ul, len_(this.value)),
    Check(this.length <= CMAP_VALUE_MAX),
    "value" / Bytes(this.length),
    Padding(lambda context: -context.length % 8),
)

CMAP_MCAST = Struct(
    *_header(CMAP, 0),
    *aligned("reason" / Int8ub, 1),
    *aligned("item_count" / Rebuild(Int8ub, len_(this.items)), 1),
    *aligned("reserved1" / Int8ub, 1),
    *aligned("reserved2" / Int8ub, 1),
    "items" / Array(this.item_count, CMAP_ITEM),
)

CFG_RINGREENABLE = Struct(*_header(CFG, 0), "source" / SOURCE)
CFG_KILLNODE = Struct(*_header(CFG, 1), *aligned("nodeid" / Int32ul, 4), "reason" / NAME)
CFG_SHUTDOWN = Struct(*_header(CFG, 2))
CFG_RELOAD_CONFIG = Struct(*_header(CFG, 3), "source" / SOURCE)
CFG_CRYPTO_RECONFIG = Struct(*_header(CFG, 4), *aligned("phase" / Int32ul, 4))

CPG_PROCJOIN = Struct(
    *_header(CPG, 0), "group" / CPG_NAME, *aligned("pid" / Int32ul, 4), *aligned("reason" / Int32ul, 4)
)
CPG_PROCLEAVE = Struct(
    *_header(CPG, 1), "group" / CPG_NAME, *aligned("pid" / Int32ul, 4), *aligned("reason" / Int32ul, 4)
)

CPG_JOINLIST_ENTRY = Struct(*aligned("pid" / Int32ul, 4), "group" / CPG_NAME)

CPG_JOINLIST = Struct(
    *_header(CPG, 2),
    *aligned("status" / Int32sl, 4),
    Check((this.size >= 24) & ((this.size - 24) % 144 == 0)),
    "entries" / Array((this.size - 24) // 144, CPG_JOINLIST_ENTRY),
)

CPG_MCAST = Struct(
    *_header(CPG, 3),
    "group" / CPG_NAME,
    *aligned("msglen" / Rebuild(Int32ul, len_(this.data)), 4),
    *aligned("pid" / Int32ul, 4),
    "source" / SOURCE,
    "data" / Bytes(this.msglen),
)

CPG_DOWNLIST_OLD = Struct(
    *_header(CPG, 4),
    *aligned("left_count" / Rebuild(Int32ul, len_(this.left)), 4),
    Check(this.left_count <= PROCESSOR_COUNT_MAX),
    "left" / Array(this.left_count, Int32ul),
    Padding(lambda context: 4 * (PROCESSOR_COUNT_MAX - context.left_count)),
)

CPG_DOWNLIST = Struct(
    *_header(CPG, 5),
    *aligned("old_members" / Int32ul, 4),
    *aligned("left_count" / Rebuild(Int32ul, len_(this.left)), 4),
    Check(this.left_count <= PROCESSOR_COUNT_MAX),
    "left" / Array(this.left_count, Int32ul),
    Padding(lambda context: 4 * (PROCESSOR_COUNT_MAX - context.left_count)),
)

CPG_PARTIAL_MCAST = Struct(
    *_header(CPG, 6),
    "group" / CPG_NAME,
    *aligned("msglen" / Int32ul, 4),
    *aligned("fraglen" / Rebuild(Int32ul, len_(this.data)), 4),
    *aligned("pid" / Int32ul, 4),
    *aligned("type" / Int32ul, 4),
    "source" / SOURCE,
    "data" / Bytes(this.fraglen),
)

VOTEQUORUM_NODEINFO = Struct(
    *_header(VOTEQUORUM, 0),
    "nodeid" / Int32ul,
    "votes" / Int32ul,
    "expected_votes" / Int32ul,
    "flags" / Int32ul,
)
VOTEQUORUM_RECONFIGURE = Struct(
    *_header(VOTEQUORUM, 1), "nodeid" / Int32ul, "value" / Int32ul, "param" / Int8ub, Padding(7)
)
VOTEQUORUM_QDEVICE_REG = Struct(*_header(VOTEQUORUM, 2), "operation" / Int32ul, "name" / c_string(255), Padding(5))
VOTEQUORUM_QDEVICE_RECONFIGURE = Struct(
    *_header(VOTEQUORUM, 3), "old_name" / c_string(255), "new_name" / c_string(255), Padding(2)
)

MESSAGES: dict[tuple[int, int], tuple[str, Construct]] = {
    (CMAP, 0): ("cmap_mcast", CMAP_MCAST),
    (CFG, 0): ("cfg_ringreenable", CFG_RINGREENABLE),
    (CFG, 1): ("cfg_killnode", CFG_KILLNODE),
    (CFG, 2): ("cfg_shutdown", CFG_SHUTDOWN),
    (CFG, 3): ("cfg_reload_config", CFG_RELOAD_CONFIG),
    (CFG, 4): ("cfg_crypto_reconfig", CFG_CRYPTO_RECONFIG),
    (CPG, 0): ("cpg_procjoin", CPG_PROCJOIN),
    (CPG, 1): ("cpg_procleave", CPG_PROCLEAVE),
    (CPG, 2): ("cpg_joinlist", CPG_JOINLIST),
    (CPG, 3): ("cpg_mcast", CPG_MCAST),
    (CPG, 4): ("cpg_downlist_old", CPG_DOWNLIST_OLD),
    (CPG, 5): ("cpg_downlist", CPG_DOWNLIST),
    (CPG, 6): ("cpg_partial_mcast", CPG_PARTIAL_MCAST),
    (VOTEQUORUM, 0): ("votequorum_nodeinfo", VOTEQUORUM_NODEINFO),
    (VOTEQUORUM, 1): ("votequorum_reconfigure", VOTEQUORUM_RECONFIGURE),
    (VOTEQUORUM, 2): ("votequorum_qdevice_reg", VOTEQUORUM_QDEVICE_REG),
    (VOTEQUORUM, 3): ("votequorum_qdevice_reconfigure", VOTEQUORUM_QDEVICE_RECONFIGURE),
    **changes.MESSAGES,
}
"""By (service, function)."""
