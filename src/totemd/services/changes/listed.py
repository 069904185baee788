"""Whether a text has this node in its nodelist: one that a change takes out cannot load the text any more."""

from totemd.config.document import Document
from totemd.ids import NodeId


def lists_node(text: str, nodeid: NodeId) -> bool:
    """Whether the nodelist has `nodeid`. ConfigError if the text is no configuration."""
    nodes = Document(text, "configuration").nodes
    # Without a number a node's id comes from its address; nobody is known to be missing then.
    return not nodes or any(table.number("nodeid") in (nodeid, None) for table in nodes)
