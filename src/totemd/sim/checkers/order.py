"""The agreed order: one for all, without gaps inside a configuration."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from totemd.ids import RingId
from totemd.sim.checkers.checker import Finding
from totemd.sim.checkers.chronicle import Chronicle, Piece, Span, common_begin
from totemd.sim.history import Delivered, LifeId, Limits, MessageId


def agreed_order(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """There is one order of all messages that every life's deliveries follow. (So any two lives deliver what both
    deliver in the same order; a circle of three, each of which agrees with the next, is no order either.)"""
    after: dict[MessageId, dict[MessageId, Delivered]] = defaultdict(dict)
    waits_for: dict[MessageId, int] = defaultdict(int)
    for story in chronicle.stories.values():
        previous: MessageId | None = None
        for event in story.delivered():
            message = event.message
            if previous is not None and previous != message and message not in after[previous]:
                after[previous][message] = event
                waits_for[message] += 1
            previous = message
    ready = [message for message in after if not waits_for[message]]
    placed = 0
    while ready:
        placed += 1
        for message in after.get(ready.pop(), ()):
            waits_for[message] -= 1
            if not waits_for[message]:
                ready.append(message)
    if any(waits_for.values()):
        yield _circle(after, {message for message, count in waits_for.items() if count})


def _circle(after: dict[MessageId, dict[MessageId, Delivered]], left: set[MessageId]) -> Finding:
    """A circle among the messages that could not be placed: each of them comes after another one of them."""
    before = {later: message for message in left for later in after.get(message, ()) if later in left}
    path: dict[MessageId, None] = {}
    message = min(left)
    while message not in path:
        path[message] = None
        message = before[message]
    circle = [*list(path)[list(path).index(message) :], message][::-1]
    steps = list(pairwise(circle))
    text = ", ".join(f"{one} before {two} at life {after[one][two].life}" for one, two in steps[:6])
    return f"no order has {text}", max(after[one][two].time for one, two in steps)


def one_configuration(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """A message belongs to one ring: everybody delivers it in that ring's configuration or in the transitional one
    that follows."""
    home: dict[MessageId, tuple[RingId, LifeId]] = {}
    for ring, spans in chronicle.by_ring.items():
        for span in spans:
            for event in span.delivered():
                known, life = home.setdefault(event.message, (ring, event.life))
                if known != ring:
                    text = f"message {event.message} is delivered in ring {known} at life {life}, in {ring} at "
                    yield f"{text}life {event.life}", event.time


def no_gaps(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """In a regular configuration every member delivers the ring's messages one after the other from the first on: what
    one has delivered is the beginning of what another one has, or the other way round. A process that joins the group
    later begins later. In the transitional configuration, too, no message of a sender comes without its former ones."""
    for ring, spans in chronicle.by_ring.items():
        yield from _same_beginning(ring, spans)
    for story in chronicle.stories.values():
        for span in story.spans:
            for piece in span.pieces:
                yield from _each_sender_in_turn(span, piece)


def _same_beginning(ring: RingId, spans: list[Span]) -> Iterator[Finding]:
    pieces = [piece for span in spans for piece in span.pieces]
    whole = [piece for piece in pieces if piece.from_start]
    model = max(whole or pieces, key=lambda piece: len(piece.regular), default=None)
    if model is None:
        return
    reference = [event.message for event in model.regular]
    place = {message: index for index, message in enumerate(reference)}
    for span in spans:
        for piece in span.pieces:
            messages = [event.message for event in piece.regular]
            begins = common_begin(piece, model)
            if begins is None and messages:
                begins = (0, place[messages[0]]) if messages[0] in place else None
            if begins is None:
                continue
            skip, begin = begins
            if not (piece.from_start and model.from_start):
                # It may have heard more than anyone who was there from the start.
                messages = messages[: max(0, len(reference) - begin) + skip]
            for index, message in enumerate(messages[skip:], begin):
                if index >= len(reference) or message != reference[index]:
                    due = reference[index] if index < len(reference) else "nothing"
                    text = f"life {span.story.life} of node {span.story.node} in ring {ring}: {message} where {due} is "
                    yield f"{text}due", piece.regular[index - begin + skip].time
                    break


def _each_sender_in_turn(span: Span, piece: Piece) -> Iterator[Finding]:
    last: dict[LifeId, int] = {}
    for event in piece.all():
        life, number = event.message
        if last.get(life, number - 1) != number - 1:
            text = f"life {span.story.life} of node {span.story.node} in ring {span.ring}"
            yield f"{text}: {event.message} comes after {(life, last[life])}", event.time
        last[life] = number
