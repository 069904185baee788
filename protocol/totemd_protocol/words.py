"""The words for numbers in packets, for people (protocol/, chapters "Packets", "Services" and "Sealed datagrams")."""

_NUMBERS: dict[tuple[str, str], dict[int, str]] = {
    ("sealed", "content"): {1: "ring", 2: "control", 3: "ring, to one", 4: "control, to one"},
    ("mcast", "guarantee"): {0: "agreed", 1: "safe"},
    ("cmap_mcast", "reason"): {0: "synchronization", 1: "changed"},
    ("cfg_crypto_reconfig", "phase"): {1: "activate", 2: "clean up"},
    ("cpg_procjoin", "reason"): {1: "join"},
    ("cpg_procleave", "reason"): {2: "leave", 5: "procdown"},
    ("cpg_partial_mcast", "type"): {1: "first", 2: "continued", 3: "last"},
    ("votequorum_reconfigure", "param"): {
        1: "expected votes",
        2: "votes of a node",
        3: "cancel wait_for_all",
        4: "forced",
    },
    ("votequorum_qdevice_reg", "operation"): {0: "unregister", 1: "register"},
}

_FLAGS: dict[tuple[str, str], dict[int, str]] = {
    ("votequorum_nodeinfo", "flags"): {
        1: "quorate",
        2: "leaving",
        4: "waits-for-all",
        8: "first",
        16: "qdevice-registered",
        32: "qdevice-alive",
        64: "qdevice-votes",
        128: "qdevice-master-wins",
    },
}


def words_for(kind: str, field: str, value: int) -> str | None:
    """What `value` means in `field` of a packet or message of type `kind`; None where a number is just a number."""
    if flags := _FLAGS.get((kind, field)):
        return "+".join(word for bit, word in flags.items() if value & bit) or "none"
    return _NUMBERS.get((kind, field), {}).get(value)
