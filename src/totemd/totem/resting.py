"""Where the direct token rests: the representative's side of its rotations (protocol/, chapter "The direct token").

The token of an idle ring rests with the representative after one rotation without news. Released, it says what has been
sent meanwhile as if the representative had sent it.
"""

from math import inf
from typing import Final

from totemd.ids import NodeId
from totemd.limits import SEQUENCE_WINDOW
from totemd.totem.core import Core, State
from totemd.totem.sequence import MASK, precedes
from totemd.wire.packets import DIRECT_LAP, PLAIN_TOKEN_SIZE, Lap, pack_plain_token, token_target, unpack_plain_token

QUIET_S: Final = 0.005
"""How long messages that no rotation has shown may wait for more of them."""

QUIET_MEMBERS: Final = 16
QUIET_PER_MEMBER_S: Final = 0.003
"""With more members they wait that much longer for each: a rotation then takes as long as QUIET_S, and one behind every
message would leave no processor to the messages."""

RESTING_SEQ_MAX: Final = 0x70000000 - 2 * SEQUENCE_WINDOW
"""Near the end of the numbers the token only rotates: a visit then renews the ring."""

BUSY_LAPS: Final = 4
"""The token goes on rotating until so many rotations in a row had one sender at most."""


def in_force(core: Core) -> bool:
    """Whether this node may use the resting token so. All members know how, and none is being synchronized here."""
    return (
        core.direct.in_ring
        and core.parameters.direct_token
        and core.settled
        and not core.waiting_trans_ack
        and core.state is State.OPERATIONAL
    )


def note_visit(core: Core, target: int) -> int:
    """The rotating token is here, has been used, and says `target`; gives what it says from here on."""
    if core.state is not State.OPERATIONAL:
        return target
    direct = core.direct
    direct.ask_deadline = inf
    direct.loan_out = direct.holding = direct.lent = False
    core.wanted = bool(core.current_queue())
    if core.ring.rep == core.me:
        direct.busy_laps = BUSY_LAPS if len(direct.senders) > 1 else max(0, direct.busy_laps - 1)
        if in_force(core) and not direct.busy_laps:
            return DIRECT_LAP
        return 0 if target == DIRECT_LAP else target
    direct.asks.clear()
    direct.cancelled = False
    direct.holder = core.ring.rep
    direct.called = target == DIRECT_LAP
    if direct.called:
        core.held = True
    return target


def pass_on(core: Core, data: bytes, seq: int, aru: int, *, asks_nothing: bool = True) -> None:
    """Send the token to the next member; the representative of an idle ring keeps it instead."""
    core.start_token_timers()
    if core.ring.rep == core.me:
        stays = _stays(core, seq, aru)
        if core.held or (stays and asks_nothing):
            _keep(core, data, seq, aru)
            return
        _start_lap(core, data, seq)
    core.parked = False
    core.stats.orf_token_tx += 1
    core.send_token(core.successor(core.new_memb), data)
    if core.heartbeat_timeout_s is not None:
        core.heartbeat_deadline = core.now + core.heartbeat_timeout_s


def _stays(core: Core, seq: int, aru: int) -> bool:
    """Whether nothing needs the next rotation: nobody lacks what was there when the last one began, all SAFE messages
    are safe everywhere, and nobody has more to send, but for one."""
    direct = core.direct
    direct.safe_laps = direct.safe_laps + 1 if core.window.released >= direct.safe_high else 0
    if not direct.called or direct.cancelled or not in_force(core):
        return False
    if (
        direct.busy_laps
        or not direct.lap_base <= aru <= seq <= RESTING_SEQ_MAX
        or seq > core.window.released + SEQUENCE_WINDOW // 2
        or direct.safe_laps < 2
    ):
        return False
    # Who asked before its visit has been served.
    for asker in [asker for asker, seen in direct.asks.items() if precedes(seen, direct.lap_token_seq)]:
        del direct.asks[asker]
    wanting = len(direct.asks) + bool(core.current_queue())
    return aru == seq if not wanting else wanting == 1


def _keep(core: Core, data: bytes, seq: int, aru: int) -> None:
    direct = core.direct
    core.parked = True
    core.token_copy = (core.successor(core.new_memb), data)
    core.heartbeat_deadline = inf
    direct.holder = core.me
    direct.seq, direct.base = seq, min(core.last_seq, aru)
    direct.lap_due = Lap.NONE
    direct.rest_end = core.now + core.parameters.token_hold_timeout_s
    core.hold_deadline = inf
    set_rest_timer(core)
    # Somebody may have asked for it; and its timers are news to the driver.
    core.wanted = core.wanted or in_force(core)
    direct.restable = len(data) == PLAIN_TOKEN_SIZE
    if direct.restable:
        fields = unpack_plain_token(data)
        direct.target = fields[1]
        direct.aru, direct.aru_addr = fields[4], fields[5]
        direct.backlog, direct.fcc, direct.retrans_flg = fields[8:11]


def _start_lap(core: Core, data: bytes, seq: int) -> None:
    direct = core.direct
    direct.called = token_target(data) == DIRECT_LAP
    direct.cancelled = False
    direct.lap_base = seq
    direct.lap_token_seq = (core.my_token_seq + 1) & MASK
    direct.senders.clear()
    core.stats.laps += 1


def release(core: Core) -> None:
    """The representative has its parked token rotate: its visit ends here."""
    direct = core.direct
    if core.token_copy is None:
        return
    if direct.lap_due is Lap.BUSY:
        direct.busy_laps = BUSY_LAPS
    data = _made_anew(core) if direct.restable else core.token_copy[1]
    core.parked = False
    core.hold_deadline = inf
    core.token_copy = (core.successor(core.new_memb), data)
    _start_lap(core, data, direct.seq)
    direct.lap_due = Lap.NONE
    core.stats.orf_token_tx += 1
    core.resend_token()


def show_aru(core: Core, aru: int, aru_addr: NodeId, seq: int) -> tuple[int, NodeId]:
    """What a token with the last number `seq` says of who has what, from this node's visit on: [ORD-13]."""
    if precedes(core.aru, aru) or aru_addr in (core.me, 0) or aru_addr not in core.new_memb:
        aru = core.aru
        aru_addr = 0 if aru == seq else core.me
    return aru, aru_addr


def _made_anew(core: Core) -> bytes:
    """The parked token with all that has been sent since, as if this node had sent it."""
    direct = core.direct
    target = direct.target
    if in_force(core):
        target = 0 if direct.busy_laps else DIRECT_LAP
    elif target == DIRECT_LAP:
        target = 0
    aru, aru_addr = show_aru(core, direct.aru, direct.aru_addr, direct.seq)
    ring = core.ring
    return pack_plain_token(
        core.me, target, direct.seq, (core.my_token_seq + 1) & MASK, aru, aru_addr, ring.rep, ring.seq,
        direct.backlog, direct.fcc, direct.retrans_flg,
    )  # fmt: skip


def set_rest_timer(core: Core) -> None:
    """When the token has to rotate at the latest."""
    direct = core.direct
    quiet_s = max(QUIET_S, QUIET_PER_MEMBER_S * (len(core.memb) - QUIET_MEMBERS))
    quiet_end = inf if direct.seq == direct.base else core.now + quiet_s
    core.hold_deadline = min(direct.rest_end, quiet_end)
