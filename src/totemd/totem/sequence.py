"""Comparison of 32-bit sequence numbers, as every peer does it (protocol/, chapter "Packets").

If either operand is in the upper half, both are shifted down by 64 Ki first, so only a margin of 64 Ki around the wrap
compares as a wrap. A ring is renewed long before its message numbers get there; token_seq does wrap.
"""

from typing import Final

MASK: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000
_SHIFT: Final = 0x10000


def precedes(a: int, b: int) -> bool:
    """True if `a` comes before `b`."""
    if a > _HALF or b > _HALF:
        return ((a - _SHIFT) & MASK) < ((b - _SHIFT) & MASK)
    return a < b


def precedes_or_equals(a: int, b: int) -> bool:
    """True if `a` comes before `b` or is `b`."""
    return a == b or precedes(a, b)
