"""A deterministic world for whole nodes, and checkers of what the protocol promises."""
