"""Every bound, by name, with its reason. "Peer" marks a bound that real corosync nodes assert or rely on."""

PROCESSOR_COUNT_MAX = 384
"""Members of one ring (peer: lists in joins and commit tokens are this long at most)."""

RETRANSMIT_ENTRIES_MAX = 30
"""Retransmit requests in one token (peer: its receive buffer for tokens is 1500 bytes)."""

SEQUENCE_WINDOW = 16384
"""Live sequence numbers of a ring (peer: it asserts that a token is never further ahead of its aru)."""

MESSAGE_SIZE_MAX = 1024 * 1024
"""One application message, bytes. Peer: its reassembly buffer is this plus 64 KiB."""

REASSEMBLY_SIZE_MAX = MESSAGE_SIZE_MAX + 65536
"""One sender's partial message, bytes."""

NET_MTU_DEFAULT = 1500
"""totem.netmtu for udp and udpu, bytes."""

MCAST_HEADER_SIZE = 45
"""Bytes in front of an mcast's payload; a recovery message carries two of them."""

SEND_QUEUE_BYTES = 4 * 1024 * 1024
"""Each of the two send queues holds this many bytes' worth of full packets."""

DATAGRAM_SIZE_MAX = 65536
"""Largest datagram that is read; UDP cannot carry more."""

CPG_NAME_MAX = 128
"""Bytes of a process group's name."""

SERVICE_ID_MAX = 63
"""Highest service id (peer: it indexes a table of 64 without a check)."""

SYNC_SERVICES_MAX = 128
"""Entries of the service list in SERVICE_BUILD."""

CMAP_KEY_MIN = 3
CMAP_KEY_MAX = 255
"""Characters of a cmap key."""

CMAP_VALUE_MAX = 16384
"""Bytes of a cmap value."""

CMAP_KEYS_MAX = 100_000
"""Keys a cmap holds; clients could otherwise fill the daemon's memory."""

FRAME_SIZE_MAX = MESSAGE_SIZE_MAX + 65536
"""One frame on the native socket, bytes."""

CLIENT_BACKLOG_BYTES_MAX = 32 * 1024 * 1024
"""Bytes queued for a client that does not read; past it the client is cut off with a reason."""

CLIENTS_BACKLOG_BYTES_MAX = 128 * 1024 * 1024
"""Bytes queued for all clients together; past it the client with the most is cut off."""

CLIENTS_MAX = 1000
"""Connections on the native socket at once."""

SUBSCRIPTIONS_MAX = 1000
"""Subscriptions and groups of one native connection."""

CPG_DATA_MAX = MESSAGE_SIZE_MAX - 1024
"""One cpg message's payload, bytes: with every header in front it stays below MESSAGE_SIZE_MAX. As in libcpg."""

CPG_PROCESSES_PER_NODE_MAX = 16384
"""(process, group) pairs of one node; a peer could otherwise fill our memory with joins."""

CPG_PROCESSES_MAX = 131_072
"""(process, group) pairs of the whole cluster, and so the most groups there can be."""

CPG_JOIN_LIST_ENTRIES_MAX = 4096
"""Entries of one join list that we send, 144 bytes each; a longer list goes out in several messages."""

CMAP_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of all cmap keys and values together, beyond which clients may add nothing."""

CMAP_TRACKERS_MAX = 10_000
"""Trackers on the cmap at once; every change looks at all of them."""

QB_ITERATORS_MAX = 256
"""Iterators of one connection to the library cmap; an iterator over the statistics remembers all their keys."""

QB_TRACKERS_MAX = 1000
"""Trackers of one connection to the library cmap."""

QB_REPLY_VALUE_MAX = MESSAGE_SIZE_MAX - 40
"""Bytes to which the library cmap pads a value that it was asked for: no buffer of a client is larger."""

ITERATIONS_MAX = 32
"""Iterations over process groups that one connection of libcpg has open; each has a list of all groups."""

ZERO_COPY_BUFFERS_MAX = 16
"""Zero-copy buffers of one connection of libcpg; each holds a descriptor."""

QB_CLIENTS_MAX = 1000
"""Connections of corosync's libraries at once; each takes seven descriptors and 3 MiB of shared memory."""

REMOVED_NODES_MAX = 1000
"""Tombstones in one configuration: one for each node that was ever taken out of a cluster."""

VOTES_MAX = 0x7FFFFFFF
"""Votes of one node in a managed cluster."""

TICKET_TTL_MAX_S = 7 * 86400
"""How long a ticket may be valid, seconds: it is as good as a key while it is."""
