"""Whole nodes in a virtual world."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from node_world import World


@pytest.fixture
def formed_world() -> Callable[..., World]:
    """Makes a world whose nodes are in one ring, with their processes in the group; nobody sends by itself."""

    def make(count: int, **settings: object) -> World:
        world = World(count, sending=False, **settings)  # type: ignore[arg-type]
        for nodeid in range(1, count + 1):
            world.start(nodeid)
        assert world.run(10.0, lambda: world.whole() and all(len(life.members) == count for life in world.living))
        return world

    return make
