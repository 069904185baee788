"""How many packets a node may send at one token visit (protocol/, chapter "Ordering")."""

from typing import Final

from totemd.config.model import TotemParameters

BURST_PACKETS: Final = 44
"""Sent at once: as many of the usual size go into one system call."""

WIDE_WINDOW_PACKETS: Final = 4 * BURST_PACKETS
"""Of a rotation where all members know the direct token; fewer where the packets are large."""

WIDE_WINDOW_BYTES: Final = 1 << 19
"""Half of what every receiver's buffer holds."""


def visit_packets(parameters: TotemParameters, *, wide: bool) -> int:
    """The most that one visit sends; `wide`: all members of the ring know the direct token ([DIR-22])."""
    return max(parameters.max_messages_packets, BURST_PACKETS) if wide else parameters.max_messages_packets


def window_packets(parameters: TotemParameters, *, wide: bool) -> int:
    """The most that all nodes together send during one rotation."""
    if not wide:
        return parameters.window_size_packets
    fitting = WIDE_WINDOW_BYTES // parameters.netmtu_bytes
    return max(parameters.window_size_packets, min(WIDE_WINDOW_PACKETS, fitting))


def allowance(
    *, max_messages: int, window_size: int, fcc: int, token_backlog: int, own_backlog: int, own_previous_backlog: int
) -> int:
    """Packets, re-sent ones included, that fit this visit: the window is the whole ring's per rotation, shared in
    proportion to the backlogs. A share that rounds to nothing does not limit, so nobody starves."""
    allowed = min(max_messages, max(0, window_size - fcc))
    total_backlog = token_backlog + own_backlog - own_previous_backlog
    if total_backlog > 0:
        share = window_size * own_previous_backlog // total_backlog
        if share > 0:
            allowed = min(allowed, share)
    return allowed
