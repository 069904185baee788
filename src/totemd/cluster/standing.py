"""Whether a listed node is wholly in the cluster, or joins, or leaves (protocol/, chapter "Joining")."""

from totemd.cluster.nodelist_text import JOINING_VOTES, LEAVING
from totemd.config.model import Configuration, NodeEntry


def joining_votes(configuration: Configuration, node: NodeEntry) -> int | None:
    """The votes that a node will have once it has been a member; None if it is counted as it stands."""
    entry = configuration.entries.get(f"nodelist.node.{node.position}.{JOINING_VOTES}")
    return entry.value if entry is not None and isinstance(entry.value, int) else None


def is_leaving(configuration: Configuration, node: NodeEntry) -> bool:
    """Whether a node has given its votes back, to be taken out as soon as it is gone."""
    entry = configuration.entries.get(f"nodelist.node.{node.position}.{LEAVING}")
    return entry is not None and entry.value == "yes"
