"""The direct token: what rests is lent to who asks for it (protocol/, chapter "The direct token").

In a ring whose members all know how, the token of an idle ring rests with the representative after one rotation without
news. Who has the resting token multicasts at once, within the representative's visit, which has not ended; who does not
have it asks for it. The token rotates again before anything depends on that: to show what everybody has, to repair, to
make SAFE messages safe, and whenever several nodes want to send.
"""

from math import inf
from typing import Final

from totemd.ids import NodeId
from totemd.limits import SEQUENCE_WINDOW
from totemd.totem.core import LOAN_RETRANSMITS, Core, State
from totemd.totem.delivery import deliver
from totemd.totem.flow import visit_packets, window_packets
from totemd.totem.resting import in_force, release, set_rest_timer
from totemd.totem.sending import send_queued
from totemd.totem.sequence import MASK, precedes, precedes_or_equals
from totemd.wire.packets import (
    Lap,
    TokenAsk,
    TokenLoan,
    TokenTaken,
    encode_token_ask,
    encode_token_loan,
    encode_token_taken,
)

PACKETS_MAX: Final = 512
"""Multicasts between two rotations."""

BYTES_MAX: Final = 1 << 20
"""And bytes: every receiver's buffer holds so much."""

ASKS_MAX: Final = 3
"""After so many without an answer the token is made to rotate."""

HOPS_MAX: Final = 2
"""How often an ask is passed on."""

US_PER_S: Final = 1_000_000


def packets_max(core: Core) -> int:
    """Multicasts between two rotations."""
    return min(PACKETS_MAX, BYTES_MAX // core.payload_size)


def use_token(core: Core) -> None:
    """Something here waits for the token: use it if it rests here, else ask for it if that is needed."""
    core.wanted = False
    direct = core.direct
    if core.state is not State.OPERATIONAL or core.token_deadline <= core.now:
        return
    if direct.holding or (core.parked and direct.restable):
        _use(core)
    elif core.current_queue() or core.upper.waits_for_token():
        if core.parked:
            # It asks for messages, and cannot rest.
            core.seq_unchanged = 0
            release(core)
        else:
            _ask(core)


def _use(core: Core) -> None:
    """Send what waits, deliver it, and decide where the token goes."""
    direct = core.direct
    upper = core.upper
    awaited = upper.waits_for_token()
    if awaited:
        upper.token_received()
    queue = core.current_queue()
    sent = _send(core) if queue else 0
    # What came into the queue just now has been sent, or is `left`.
    core.wanted = False
    left = bool(queue)
    if sent:
        deliver(core)
    if (sent or awaited) and core.state is State.OPERATIONAL:
        upper.token_sent()
    if core.state is not State.OPERATIONAL:
        return
    if core.parked and not in_force(core):
        release(core)
        return
    if len(direct.asks) + left > 1:
        direct.lap_due = Lap.BUSY
    elif direct.lap_due is Lap.NONE and (
        (left and not sent)
        or direct.seq >= direct.base + packets_max(core)
        or direct.safe_high > direct.base
        or not core.parameters.direct_token
    ):
        direct.lap_due = Lap.ONE
    if direct.lap_due is not Lap.NONE:
        _rotate(core)
    elif direct.asks:
        _give(core, next(iter(direct.asks)))
    elif core.parked and direct.favourite:
        _give(core, direct.favourite)
    elif sent or core.hold_deadline == inf:
        # What was delivered may have been answered.
        core.wanted = core.wanted or left
        set_rest_timer(core)


def _send(core: Core) -> int:
    """Multicast from the queue with the next numbers; gives how many."""
    direct = core.direct
    parameters = core.parameters
    allowed = min(
        visit_packets(parameters, wide=direct.in_ring),
        direct.base + packets_max(core) - direct.seq,
        core.window.released + SEQUENCE_WINDOW // 2 - direct.seq,
    )
    if not direct.in_ring:
        # Others count what this visit sends.
        allowed = min(allowed, parameters.max_messages_packets - core.trc, parameters.window_size_packets - direct.fcc)
    seq, sent = send_queued(core, core.window, direct.seq, allowed, operational=True)
    core.aru = core.window.contiguous_from(core.aru)
    core.stats.direct_mcast_tx += sent
    if core.parked and sent:
        _account(core, seq)
        direct.favourite = 0
    direct.seq = seq
    return sent


def _account(core: Core, seq: int) -> None:
    """The parked token counts mcasts up to `seq` as this visit's. Its fcc stays within the window, for a greater one
    would keep everybody from sending for a rotation."""
    direct = core.direct
    window = window_packets(core.parameters, wide=direct.in_ring)
    counted = min(seq - direct.seq, max(0, window - direct.fcc))
    direct.fcc += counted
    core.trc += counted


def rest_ends(core: Core) -> None:
    """It is time for a rotation."""
    core.hold_deadline = inf
    if core.parked:
        release(core)
    elif core.direct.holding:
        core.direct.lap_due = Lap.ONE
        _rotate(core)


def request_lap(core: Core) -> None:
    """Somebody wants a rotation after the one that goes on, or as soon as the resting token can."""
    direct = core.direct
    direct.cancelled = True
    if core.parked:
        release(core)
    elif direct.holding:
        direct.lap_due = max(direct.lap_due, Lap.ONE)
        core.wanted = True


def note_gap(core: Core) -> None:
    """A message is missing here: without a rotation nobody would know."""
    if core.direct.holding or core.parked:
        request_lap(core)
    else:
        core.cancel_hold()


def _rotate(core: Core) -> None:
    if core.parked:
        release(core)
    else:
        _give(core, core.ring.rep)


def _give(core: Core, nodeid: NodeId) -> None:
    """Lend the token, hand it over or give it back."""
    direct = core.direct
    token_seq = (core.my_token_seq + 1) & MASK
    rested_s = core.now + core.parameters.token_hold_timeout_s - direct.rest_end
    age_us = min(max(0, int(rested_s * US_PER_S)), MASK)
    loan = TokenLoan(core.me, core.ring, token_seq, direct.seq, direct.base, age_us, direct.lap_due)
    if core.ring.rep == core.me:
        direct.lent = True
        core.held = True
    core.parked = direct.holding = False
    core.hold_deadline = inf
    direct.asks.clear()
    direct.holder = nodeid
    direct.loan_out = True
    direct.given_to, direct.given_seq, direct.given_token_seq = nodeid, direct.seq, token_seq
    core.stats.token_loan_tx += 1
    core.send_token(nodeid, encode_token_loan(loan))
    core.retransmit_deadline = core.now + core.parameters.token_retransmit_timeout_s / LOAN_RETRANSMITS


def handle_loan(core: Core, loan: TokenLoan) -> None:
    """The resting token comes here."""
    direct = core.direct
    core.stats.token_loan_rx += 1
    if core.discard_tokens or loan.ring != core.ring or core.state is not State.OPERATIONAL:
        return
    if precedes_or_equals(loan.token_seq, core.my_token_seq):
        core.stats.duplicate_tokens += 1
        core.unicast(loan.sender, encode_token_taken(TokenTaken(core.me, core.ring, loan.token_seq)))
        return
    at_home = core.ring.rep == core.me
    known = direct.seq if at_home else core.passed_seq
    if (
        loan.sender not in core.memb
        or loan.sender == core.me
        or (at_home and not direct.lent)
        or not known <= loan.seq <= core.window.released + SEQUENCE_WINDOW
        or loan.base > loan.seq
    ):
        core.stats.implausible_tokens += 1
        return
    core.my_token_seq = loan.token_seq
    core.start_token_timers()
    core.retransmit_deadline = direct.ask_deadline = core.hold_deadline = inf
    direct.loan_out = False
    direct.holder = core.me
    direct.lap_due = loan.lap
    if at_home:
        core.stats.token_return_rx += 1
        alone = loan.sender == direct.given_to and loan.token_seq == (direct.given_token_seq + 1) & MASK
        direct.favourite = loan.sender if alone and loan.seq > direct.given_seq else 0
        direct.lent = False
        core.parked = True
        _account(core, loan.seq)
        core.passed_seq = loan.seq
    else:
        direct.holding = True
        direct.base = loan.base
        direct.rest_end = core.now + core.parameters.token_hold_timeout_s - loan.age_us / US_PER_S
    direct.seq = loan.seq
    if direct.lap_due is Lap.NONE and (direct.cancelled or core.aru < loan.seq):
        direct.lap_due = Lap.ONE
    core.wanted = True


def handle_taken(core: Core, taken: TokenTaken) -> None:
    """What was given away had arrived: no need to send it again."""
    direct = core.direct
    if (
        taken.ring == core.ring
        and direct.loan_out
        and taken.sender == direct.given_to
        and taken.token_seq == direct.given_token_seq
    ):
        _has_arrived(core)


def note_message(core: Core, sender: NodeId, seq: int) -> None:
    """A message that is new here, and the last one so far: whoever sent it had the token then."""
    direct = core.direct
    if sender not in core.memb:
        return
    direct.holder = sender
    if direct.loan_out and seq > direct.given_seq:
        _has_arrived(core)
    if direct.holding and seq > direct.seq:
        # Who has the token gives the numbers: it cannot be here, whoever said that it is.
        direct.holding = False
        core.stats.implausible_tokens += 1
        core.hold_deadline = inf
        core.wanted = bool(core.current_queue())


def _has_arrived(core: Core) -> None:
    core.direct.loan_out = False
    core.retransmit_deadline = inf


# Asking for it


def _ask(core: Core) -> None:
    direct = core.direct
    if not direct.called or not in_force(core):
        core.cancel_hold()
        return
    if core.ring.rep == core.me and not direct.lent:
        return
    if direct.ask_deadline == inf:
        direct.asks_sent = 0
        _send_ask(core, direct.holder)


def _send_ask(core: Core, nodeid: NodeId) -> None:
    direct = core.direct
    direct.asks_sent += 1
    direct.ask_deadline = core.now + core.parameters.token_retransmit_timeout_s / (2 * LOAN_RETRANSMITS)
    if nodeid == core.me or nodeid not in core.memb:
        nodeid = core.ring.rep
    if nodeid != core.me:
        core.stats.token_ask_tx += 1
        core.unicast(nodeid, encode_token_ask(TokenAsk(core.me, core.ring, core.me, core.my_token_seq, 0)))


def ask_again(core: Core) -> None:
    """No answer yet."""
    direct = core.direct
    direct.ask_deadline = inf
    if not core.current_queue() and not core.upper.waits_for_token():
        return
    if direct.asks_sent < ASKS_MAX and direct.called and in_force(core):
        _send_ask(core, direct.holder if core.ring.rep == core.me else core.ring.rep)
    else:
        core.held = True
        core.cancel_hold()


def handle_ask(core: Core, ask: TokenAsk) -> None:
    """Somebody wants the resting token."""
    direct = core.direct
    core.stats.token_ask_rx += 1
    if ask.ring != core.ring or core.state is not State.OPERATIONAL or ask.asker == core.me:
        return
    if ask.asker not in core.memb or ask.sender not in core.memb:
        return
    at_home = core.ring.rep == core.me
    if core.parked and not (direct.restable and in_force(core)):
        core.seq_unchanged = 0
        release(core)
    elif core.parked or direct.holding:
        if not (at_home and precedes(ask.token_seq, direct.lap_token_seq)):
            direct.asks[ask.asker] = ask.token_seq
            core.wanted = True
    elif (at_home and not direct.lent) or (ask.sender == core.ring.rep and direct.ask_deadline != inf):
        # It rotates; or it is on its way here.
        direct.asks[ask.asker] = ask.token_seq
    else:
        _forward(core, ask)


def _forward(core: Core, ask: TokenAsk) -> None:
    """Pass an ask on to who has the token; if it runs after the token in vain, a rotation serves the asker."""
    rep = core.ring.rep
    target = core.direct.holder
    elsewhere = (core.me, ask.asker, ask.sender)
    if target in elsewhere or target not in core.memb:
        target = rep
    if ask.hops < HOPS_MAX and target not in elsewhere:
        core.stats.token_ask_tx += 1
        core.unicast(target, encode_token_ask(TokenAsk(core.me, core.ring, ask.asker, ask.token_seq, ask.hops + 1)))
    else:
        core.cancel_hold()
