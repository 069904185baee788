"""Installing a ring: old messages, the two configurations, OPERATIONAL (protocol/, chapter "Recovery")."""

from totemd.ids import NodeId
from totemd.totem.api import ConfigurationChanged, ConfigurationKind
from totemd.totem.core import Core, State
from totemd.totem.recovery import unwrap
from totemd.totem.window import Window
from totemd.wire.packets import ENCAPSULATED, FEATURE_DIRECT_TOKEN, GUARANTEE_SAFE


def install_ring(core: Core) -> None:
    """End recovery: deliver, in order, old messages, transitional configuration, old messages that only its members
    can vouch for, regular configuration."""
    core.consensus = set()
    core.saved = False
    last_recovered = _take_over_recovered(core)
    contiguous = _deliver_in_old_configuration(core)
    if core.has_left:
        # An old message was the order to stop.
        return
    left = tuple(nodeid for nodeid in core.memb if nodeid not in core.trans)
    joined = tuple(nodeid for nodeid in core.new_memb if nodeid not in core.trans)
    reason = describe(core.cause, joined, left, core.leavers)
    core.memb = core.new_memb
    upper = core.upper
    upper.configuration_changed(
        ConfigurationChanged(ConfigurationKind.TRANSITIONAL, core.ring, core.trans, (), left, reason)
    )
    core.waiting_trans_ack = True
    _deliver_in_transitional_configuration(core, contiguous)
    if core.has_left:
        return
    upper.switch_reassembly()
    _switch_windows(core, last_recovered)
    core.change_state(State.OPERATIONAL)
    core.settled = len(core.memb) == 1
    direct = core.direct
    direct.reset()
    direct.in_ring = all(direct.features.get(nodeid, 0) & FEATURE_DIRECT_TOKEN for nodeid in core.memb)
    core.newcomers = {}
    core.stats.operational_entered += 1
    core.stats.continuous_gather = 0
    core.log("notice", f"ring {core.ring} formed: members {', '.join(map(str, core.memb))}; {reason}")
    upper.configuration_changed(
        ConfigurationChanged(ConfigurationKind.REGULAR, core.ring, core.memb, joined, (), reason)
    )


def describe(cause: str, joined: tuple[NodeId, ...], left: tuple[NodeId, ...], leavers: set[NodeId]) -> str:
    """The reason of a membership change in one line: the first cause, then who came and who went, and how."""
    parts = [cause]
    said = tuple(nodeid for nodeid in left if nodeid in leavers)
    silent = tuple(nodeid for nodeid in left if nodeid not in leavers)
    if joined:
        parts.append(f"joined: {', '.join(map(str, joined))}")
    if said:
        parts.append(f"left with a goodbye: {', '.join(map(str, said))}")
    if silent:
        parts.append(f"no longer answers: {', '.join(map(str, silent))}")
    return "; ".join(parts)


def _take_over_recovered(core: Core) -> int:
    """Put recovered messages into the old ring's window; gives the last recovery message's number on the new ring."""
    last = 0
    for seq, message in core.recovery_window.held(0, core.aru):
        if message.encapsulated != ENCAPSULATED:
            continue
        last = seq
        inner = unwrap(message)
        if inner is not None and inner.ring == core.old_ring and core.window.add(inner.seq, inner):
            core.old_high = max(core.old_high, inner.seq)
    return last


def _deliver_in_old_configuration(core: Core) -> int:
    """Deliver what the old configuration can still vouch for: all up to the first hole, except from the first SAFE
    message on that was never shown to be everywhere. Gives the last number before the first hole."""
    contiguous = min(core.window.contiguous_from(core.high_delivered), core.old_high)
    while core.high_delivered < contiguous:
        message = core.window.get(core.high_delivered + 1)
        if message is None or (message.guarantee == GUARANTEE_SAFE and core.high_delivered >= core.old_safe_up_to):
            break
        core.high_delivered += 1
        core.upper.packet_delivered(message.sender, message.payload)
        if core.has_left:
            break
    return contiguous


def _deliver_in_transitional_configuration(core: Core, contiguous: int) -> None:
    """Deliver the rest: all up to the first hole, and beyond it what members of the transitional configuration sent
    (a message of somebody else might depend on one that is lost)."""
    for seq, message in core.window.held(core.high_delivered, core.old_high):
        if seq <= contiguous or message.system_from in core.deliver_from:
            core.upper.packet_delivered(message.sender, message.payload)
            if core.has_left:
                return
    core.high_delivered = core.old_high


def _switch_windows(core: Core, last_recovered: int) -> None:
    core.window = core.recovery_window
    core.recovery_window = Window()
    core.recovery_queue.clear()
    core.recovered.clear()
    core.window.release(last_recovered)
    core.high_delivered = last_recovered
    core.last_aru = core.safe_up_to = core.old_safe_up_to = 0
    core.set_retrans_flg = False
    core.proc = dict.fromkeys(core.new_memb)
    core.failed = {}
    core.leavers = set()
    core.received_flg = True
    core.old_ring = core.ring
    core.miss_counts.clear()
    core.unserved = {}
    core.calm_visits = 0
