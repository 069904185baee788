"""What is known to be amiss with real nodes (corosync 3.1.7), so that the others are judged in spite of it.

A real node that has sent a part of a message when its ring ends sends the rest on the next ring (protocol/, chapter
"Groups", [GRP-18]). Members that came along with it deliver the message there; those that are new have not heard its
beginning and cannot. Such a message is *torn*: nobody can be held to it. It is its sender's first one on the ring.
"""

from totemd.ids import NodeId
from totemd.sim.checkers.chronicle import Chronicle, Span, read
from totemd.sim.history import Accepted, Delivered, Event, GroupChanged, History, LifeId, MessageId, Process


def torn_messages(history: History, real: frozenset[NodeId]) -> frozenset[MessageId]:
    """Messages of these nodes that some members of a ring have not delivered and could not."""
    return frozenset(message for message in _torn(read(history), real))


def without(history: History, messages: frozenset[MessageId]) -> History:
    """The history as if these had never been sent."""
    return [event for event in history if not _is_of(event, messages)]


def _torn(chronicle: Chronicle, real: frozenset[NodeId]) -> set[MessageId]:
    found: set[MessageId] = set()
    for spans in chronicle.by_ring.values():
        heads: dict[LifeId, Delivered] = {}
        for span in spans:
            for event in span.delivered():
                life, number = event.message
                if event.sender[0] in real and (life not in heads or number < heads[life].message[1]):
                    heads[life] = event
        for head in heads.values():
            views = [view for span in spans if (view := _view_at(span, head.message)) is not None]
            due: frozenset[Process] = frozenset().union(*views)
            if any(span.story.process in due and _could_not(chronicle, span, head) for span in spans):
                found.add(head.message)
    return found


def _view_at(span: Span, message: MessageId) -> frozenset[Process] | None:
    """Who was in the group where the life delivered the message; None: it did not."""
    view: frozenset[Process] = frozenset()
    spans = span.story.spans
    # A ring need not change the group: then the view is that of a ring before.
    for event in (event for one in spans[: spans.index(span)] for event in one.events):
        if isinstance(event, GroupChanged):
            view = frozenset(event.members)
    for event in span.events:
        if isinstance(event, GroupChanged):
            view = frozenset(event.members)
        elif isinstance(event, Delivered) and event.message == message:
            return view
    return None


def _could_not(chronicle: Chronicle, span: Span, head: Delivered) -> bool:
    """Whether the life has not delivered its sender's first message of the ring, and was not with the sender all the
    time since that had sent another message: there may be rings in between on which nothing was sent."""
    if any(event.message == head.message for event in span.delivered()):
        return False
    spans = span.story.spans
    for index in range(spans.index(span) - 1, -1, -1):
        before = spans[index]
        if before.transition is None:
            # What was before is not known.
            return False
        if head.sender[0] not in before.transition.members:
            return True
        if before.ring is None or any(_has_sent(other, head) for other in chronicle.by_ring[before.ring]):
            return False
    return False


def _has_sent(span: Span, head: Delivered) -> bool:
    return any(event.message[0] == head.message[0] for event in span.delivered())


def _is_of(event: Event, messages: frozenset[MessageId]) -> bool:
    return isinstance(event, Accepted | Delivered) and event.message in messages
