"""How many packets a node may send at one token visit (protocol/, chapter "Ordering")."""


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
