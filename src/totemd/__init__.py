"""totemd: a group membership daemon that forms a Totem ring, orders messages and answers quorum."""

__version__ = "0.1.0"
