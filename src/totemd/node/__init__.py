"""One object for all of a node's protocol state, without IO."""

from totemd.node.node import Node

__all__ = ["Node"]
