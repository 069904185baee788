"""What an mcast carries: packed pieces of messages, and the group header of each message (chapter "Groups")."""

from construct import (
    Array,
    Bytes,
    GreedyBytes,
    Int8ub,
    Int16sl,
    Int16ul,
    Rebuild,
    Struct,
    Terminated,
    len_,
    this,
)

PACKED = Struct(
    "version" / Int16sl,
    "type" / Int16sl,
    "fragmented" / Int8ub,
    "continuation" / Int8ub,
    "msg_count" / Rebuild(Int16ul, len_(this.pieces)),
    "lengths" / Rebuild(Array(this.msg_count, Int16ul), lambda context: [len(piece) for piece in context.pieces]),
    "pieces" / Array(this.msg_count, Bytes(lambda context: context.lengths[context._index])),
    Terminated,
)

GROUP_MESSAGE = Struct(
    "group_count" / Rebuild(Int16ul, len_(this.groups)),
    "name_lengths" / Rebuild(Array(this.group_count, Int16ul), lambda context: [len(name) for name in context.groups]),
    "groups" / Array(this.group_count, Bytes(lambda context: context.name_lengths[context._index])),
    "body" / GreedyBytes,
)

SERVICE_GROUP = b"a"
SYNC_GROUP = b"sync"
