"""Counters of the ring, most of them named as corosync's stats.srp keys name them (cmap_keys(7))."""

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class RingStats:
    """Monotonic counters since start; `continuous_gather` alone goes back to zero."""

    orf_token_tx: int = 0
    orf_token_rx: int = 0
    memb_merge_detect_tx: int = 0
    memb_merge_detect_rx: int = 0
    memb_join_tx: int = 0
    memb_join_rx: int = 0
    mcast_tx: int = 0
    mcast_retx: int = 0
    mcast_rx: int = 0
    memb_commit_token_tx: int = 0
    memb_commit_token_rx: int = 0
    token_hold_cancel_tx: int = 0
    token_hold_cancel_rx: int = 0
    operational_entered: int = 0
    operational_token_lost: int = 0
    gather_entered: int = 0
    gather_token_lost: int = 0
    commit_entered: int = 0
    commit_token_lost: int = 0
    recovery_entered: int = 0
    recovery_token_lost: int = 0
    consensus_timeouts: int = 0
    continuous_gather: int = 0
    retransmits_requested: int = 0
    duplicate_tokens: int = 0
    implausible_tokens: int = 0
    token_ask_tx: int = 0
    token_ask_rx: int = 0
    token_loan_tx: int = 0
    token_loan_rx: int = 0
    token_return_rx: int = 0
    direct_mcast_tx: int = 0
    """Multicast without a visit of the rotating token."""
    laps: int = 0
    """Rotations that the representative began."""

    def as_dict(self) -> dict[str, int]:
        """All counters by name."""
        return asdict(self)
