"""The packets of the ring (protocol/, chapters "Packets" and "The direct token")."""

from construct import (
    Array,
    Check,
    Const,
    Construct,
    GreedyBytes,
    Int8ub,
    Int16ul,
    Int32sl,
    Int32ul,
    Int64ul,
    Optional,
    Rebuild,
    Struct,
    len_,
    this,
)

from totemd_protocol.common import PROCESSOR_COUNT_MAX, RETRANSMIT_ENTRIES_MAX, RING_ID

MAGIC = 0xC070
VERSION = 3
HEADER_SIZE = 13

ORF_TOKEN_TYPE, MCAST_TYPE, MERGE_DETECT_TYPE, JOIN_TYPE, COMMIT_TOKEN_TYPE, HOLD_CANCEL_TYPE = range(6)
TOKEN_ASK_TYPE, TOKEN_LOAN_TYPE, TOKEN_TAKEN_TYPE = range(64, 67)

ENCAPSULATED = 1
NOT_ENCAPSULATED = 2


def header(kind: int) -> Construct:
    """The 13 bytes in front of every packet."""
    return Struct(
        "magic" / Const(MAGIC, Int16ul),
        "version" / Const(VERSION, Int8ub),
        "type" / Const(kind, Int8ub),
        "encapsulated" / Int8ub,
        "nodeid" / Int32ul,
        "target_nodeid" / Int32ul,
    )


MCAST = Struct(
    "header" / header(MCAST_TYPE),
    "system_from" / Int32ul,
    "seq" / Int32ul,
    "this_seqno" / Int32sl,
    "ring" / RING_ID,
    "node_id" / Int32ul,
    "guarantee" / Int32sl,
    "payload" / GreedyBytes,
)

RETRANSMIT_REQUEST = Struct("ring" / RING_ID, "seq" / Int32ul)

ORF_TOKEN = Struct(
    "header" / header(ORF_TOKEN_TYPE),
    "seq" / Int32ul,
    "token_seq" / Int32ul,
    "aru" / Int32ul,
    "aru_addr" / Int32ul,
    "ring" / RING_ID,
    "backlog" / Int32ul,
    "fcc" / Int32ul,
    "retrans_flg" / Int32sl,
    "rtr_list_entries" / Rebuild(Int32sl, len_(this.rtr_list)),
    Check((this.rtr_list_entries >= 0) & (this.rtr_list_entries <= RETRANSMIT_ENTRIES_MAX)),
    "rtr_list" / Array(this.rtr_list_entries, RETRANSMIT_REQUEST),
)

MERGE_DETECT = Struct("header" / header(MERGE_DETECT_TYPE), "system_from" / Int32ul, "ring" / RING_ID)

ANNOUNCEMENT = Struct(
    "magic" / Const(0x3A746F74, Int32ul),
    "version" / Const(1, Int16ul),
    "features" / Int16ul,
)
"""What a totemd node appends to its joins."""

JOIN = Struct(
    "header" / header(JOIN_TYPE),
    "system_from" / Int32ul,
    "proc_list_entries" / Rebuild(Int32ul, len_(this.proc_list)),
    "failed_list_entries" / Rebuild(Int32ul, len_(this.failed_list)),
    "ring_seq" / Int64ul,
    Check((this.proc_list_entries <= PROCESSOR_COUNT_MAX) & (this.failed_list_entries <= PROCESSOR_COUNT_MAX)),
    "proc_list" / Array(this.proc_list_entries, Int32ul),
    "failed_list" / Array(this.failed_list_entries, Int32ul),
    "announcement" / Optional(ANNOUNCEMENT),
)
"""A join, or a leave when `header.nodeid` is 0."""

COMMIT_ENTRY = Struct("ring" / RING_ID, "aru" / Int32ul, "high_delivered" / Int32ul, "received_flg" / Int32ul)

COMMIT_TOKEN = Struct(
    "header" / header(COMMIT_TOKEN_TYPE),
    "token_seq" / Int32ul,
    "ring" / RING_ID,
    "retrans_flg" / Int32ul,
    "memb_index" / Int32sl,
    "addr_entries" / Rebuild(Int32sl, len_(this.addr)),
    Check((this.addr_entries >= 0) & (this.addr_entries <= PROCESSOR_COUNT_MAX)),
    Check((this.memb_index >= 0) & (this.memb_index <= this.addr_entries)),
    "addr" / Array(this.addr_entries, Int32ul),
    "memb_list" / Array(this.addr_entries, COMMIT_ENTRY),
)

HOLD_CANCEL = Struct("header" / header(HOLD_CANCEL_TYPE), "ring" / RING_ID)

TOKEN_ASK = Struct(
    "header" / header(TOKEN_ASK_TYPE), "ring" / RING_ID, "asker" / Int32ul, "token_seq" / Int32ul, "hops" / Int8ub
)

TOKEN_LOAN = Struct(
    "header" / header(TOKEN_LOAN_TYPE),
    "ring" / RING_ID,
    "token_seq" / Int32ul,
    "seq" / Int32ul,
    "base" / Int32ul,
    "age_us" / Int32ul,
    "lap" / Int8ub,
    Check(this.lap <= 2),
)

TOKEN_TAKEN = Struct("header" / header(TOKEN_TAKEN_TYPE), "ring" / RING_ID, "token_seq" / Int32ul)

PACKETS: dict[int, tuple[str, Construct]] = {
    ORF_TOKEN_TYPE: ("orf_token", ORF_TOKEN),
    MCAST_TYPE: ("mcast", MCAST),
    MERGE_DETECT_TYPE: ("merge_detect", MERGE_DETECT),
    JOIN_TYPE: ("join", JOIN),
    COMMIT_TOKEN_TYPE: ("commit_token", COMMIT_TOKEN),
    HOLD_CANCEL_TYPE: ("hold_cancel", HOLD_CANCEL),
    TOKEN_ASK_TYPE: ("token_ask", TOKEN_ASK),
    TOKEN_LOAN_TYPE: ("token_loan", TOKEN_LOAN),
    TOKEN_TAKEN_TYPE: ("token_taken", TOKEN_TAKEN),
}
"""By the type byte of the header."""
