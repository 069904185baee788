"""What is known to be amiss with real nodes (corosync 3.1.7), so that the others are judged in spite of it.

A real node that has sent a part of a message when its ring ends sends the rest on the next ring (protocol/, chapter
"Groups", [GRP-18]). Members that came along with it deliver the message there; those that are new have not heard its
beginning and cannot. Such a message is *torn*: nobody can be held to it. It is its sender's first one on the ring.
"""

from totemd.ids import NodeId
from totemd.sim.checkers.chronicle import Chronicle, Span, read
from totemd.sim.history import Accepted, Delivered, Event, History, LifeId, MessageId


def torn_messages(history: History, real: frozenset[NodeId]) -> frozenset[MessageId]:
    """Messages of these nodes that some members of a ring have not delivered and could not."""
    return frozenset(message for message in _torn(read(history), real))


def without(history: History, messages: frozenset[MessageId]) -> History:
    """The history as if these had never been sent."""
    return [event for event in history if not _is_of(event, messages)]


def _torn(chronicle: Chronicle, real: frozenset[NodeId]) -> set[MessageId]:
    found: set[MessageId] = set()
    for spans in chronicle.by_ring.values():
        heads: dict[LifeId, int] = {}
        senders: dict[LifeId, NodeId] = {}
        for span in spans:
            for event in span.delivered():
                life, number = event.message
                if event.sender[0] in real:
                    heads[life] = min(heads.get(life, number), number)
                    senders[life] = event.sender[0]
        for life, number in heads.items():
            if any(_is_new_to(span, senders[life]) and not _has(span, (life, number)) for span in spans):
                found.add((life, number))
    return found


def _is_new_to(span: Span, sender: NodeId) -> bool:
    """Whether the life came into the ring without the sender, and heard the group from the start."""
    spans = span.story.spans
    transition = spans[spans.index(span) - 1].transition
    heard = bool(span.pieces) and span.pieces[0].from_start
    return heard and transition is not None and sender not in transition.members


def _has(span: Span, message: MessageId) -> bool:
    return any(event.message == message for event in span.delivered())


def _is_of(event: Event, messages: frozenset[MessageId]) -> bool:
    return isinstance(event, Accepted | Delivered) and event.message in messages
