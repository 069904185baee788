"""Real-time scheduling, as corosync has it by default (corosync.conf(5), section system).

A daemon that waits for the processor behind a busy machine's other processes loses the token, and its cluster a node.
Where the right is missing (no root, no CAP_SYS_NICE, a container) totemd runs at the ordinary priority.
"""

import os

from totemd.config.logs import NICE_BEST
from totemd.config.model import SystemSettings


def raise_priority(settings: SystemSettings) -> str | None:
    """Become a round-robin real-time process if the configuration wants it. Gives why not, None if all is as wanted."""
    if not settings.sched_rr:
        return _be_nice(settings.nice)
    priority = os.sched_get_priority_max(os.SCHED_RR)
    try:
        # Not for children, should there ever be one.
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except OSError as error:
        _be_nice(NICE_BEST)
        return (
            f"no real-time scheduling ({error.strerror}): on a busy machine the token may be late; run as root, raise "
            "the limit (systemd: LimitRTPRIO=99) or give CAP_SYS_NICE, or say system.sched_rr: no"
        )
    return None


def _be_nice(nice: int | None) -> str | None:
    if nice is None:
        return None
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except OSError as error:
        return f"cannot set the nice value {nice}: {error.strerror}; it stays {os.getpriority(os.PRIO_PROCESS, 0)}"
    return None
