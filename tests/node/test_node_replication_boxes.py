"""Key rings that come in boxes are looked at before anything is accepted."""

from types import SimpleNamespace
from typing import Any

import pytest

from totemd.errors import BadPacket
from totemd.node.replication import Replication
from totemd.seal.keys import KeyRing, new_key


def opened(key_ring: bytes) -> bytes | None:
    replication = object.__new__(Replication)
    node: Any = SimpleNamespace(nodeid=1, log=lambda *words: None)
    replication._node = node
    replication._open_box = lambda change: key_ring
    change: Any = SimpleNamespace(boxes={1: b"box"})
    return replication.open_box(change)


def test_what_is_no_key_ring_is_refused() -> None:
    with pytest.raises(BadPacket, match="bad key ring"):
        opened(b"short")
    good = KeyRing(new_key(lambda size: bytes(range(size)))).to_bytes()
    assert opened(good) == good
