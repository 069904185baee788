"""Extended virtual synchrony: what members of one configuration may rely on when the next one comes."""

from collections import defaultdict
from collections.abc import Iterator

from totemd.ids import RingId
from totemd.sim.checkers.checker import Finding
from totemd.sim.checkers.chronicle import Chronicle, Span, Story, common_begin
from totemd.sim.history import Configured, Delivered, Limits, Synchronized
from totemd.totem.api import ConfigurationKind


def virtual_synchrony(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """Lives that go together from one regular configuration to the next have delivered the same messages in the
    former, its transitional part included. A process that joined the group meanwhile has those from its join on."""
    for ring, spans in chronicle.by_ring.items():
        together: defaultdict[RingId, list[Span]] = defaultdict(list)
        for span in spans:
            if span.following is not None and span.last_piece is not None:
                together[span.following.ring].append(span)
        for following, companions in together.items():
            if len(companions) > 1:
                yield from _same_messages(ring, following, companions)


def _same_messages(ring: RingId, following: RingId, spans: list[Span]) -> Iterator[Finding]:
    last = [(span, span.last_piece) for span in spans if span.last_piece is not None]
    whole = [(span, piece) for span, piece in last if piece.from_start]
    # Of those that were not there from the start, who came first has the most.
    model_span, model = max(whole or last, key=lambda pair: len(pair[1].all()))
    reference = [event.message for event in model.all()]
    for span, piece in last:
        messages = [event.message for event in piece.all()]
        skip, begin = common_begin(piece, model) or (0, max(0, len(reference) - len(messages)))
        messages, due = messages[skip:], reference[begin:]
        if set(messages) != set(due):
            assert span.following is not None
            lacking = sorted(set(due) - set(messages))[:5]
            foreign = sorted(set(messages) - set(due))[:5]
            text = f"from {ring} to {following}: life {span.story.life} of node {span.story.node} lacks {lacking} and "
            yield f"{text}has besides {foreign}, compared with life {model_span.story.life}", span.following.time


def safe_delivery(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """A SAFE message that one member delivers in the regular configuration is delivered by every member, in the
    regular or the following transitional configuration, unless that member's life ends before."""
    for ring, spans in chronicle.by_ring.items():
        pieces = [piece for span in spans for piece in span.pieces]
        safe = {event.message: event for piece in pieces for event in piece.regular if event.safe}
        if not safe:
            continue
        whole = [piece for piece in pieces if piece.from_start]
        model = max(whole or pieces, key=lambda piece: len(piece.regular))
        for span in spans:
            piece = span.last_piece
            begins = None if piece is None else common_begin(piece, model)
            if span.following is None or begins is None:
                continue
            has = {event.message for event in span.delivered()}
            due = [event.message for event in model.regular[begins[1] :]]
            lacking = [message for message in due if message in safe and message not in has]
            if lacking:
                text = f"life {span.story.life} of node {span.story.node} leaves ring {ring} without the safe "
                yield f"{text}{lacking[:5]}, as life {safe[lacking[0]].life} has delivered in it", span.following.time
        yield from _never_installed(chronicle, ring, spans, next(iter(safe.values())))


def _never_installed(chronicle: Chronicle, ring: RingId, spans: list[Span], sure: Delivered) -> Iterator[Finding]:
    """Members that were never in the ring cannot deliver what is safe in it, and live on."""
    configured = spans[0].configured
    assert configured is not None
    known = {span.story.node for span in spans}
    for nodeid in configured.members:
        if nodeid in known:
            continue
        for story in chronicle.by_node.get(nodeid, ()):
            passed = _passed_by(story, configured)
            if passed is not None:
                text = f"life {sure.life} delivers the safe {sure.message} in ring {ring}, in which its member "
                yield f"{text}life {story.life} of node {nodeid} never was", passed.time


def _passed_by(story: Story, configured: Configured) -> Configured | None:
    """The first ring that the life installed after that one, if it lived and was being recorded before."""
    before = [span.configured for span in story.spans if span.configured is not None]
    if not before or (story.started is None and before[0].ring.seq > configured.ring.seq):
        return None
    if story.begin > configured.time:
        return None
    return next((event for event in before if event.ring.seq > configured.ring.seq), None)


def synchronized_service(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """In a regular configuration no message of the group is delivered before the services of all members agree; and
    that they agree is said once, of the ring that is installed."""
    for story in chronicle.stories.values():
        for span in story.spans:
            if span.configured is not None and span.seen_to_form:
                yield from _served(span)


def _served(span: Span) -> Iterator[Finding]:
    done = False
    where = f"life {span.story.life} of node {span.story.node} in ring {span.ring}"
    for event in span.events:
        if isinstance(event, Synchronized):
            if event.ring != span.ring or done:
                yield f"{where}: synchronized in {event.ring}{' again' if done else ''}", event.time
            done = True
        elif isinstance(event, Configured) and event.kind is ConfigurationKind.TRANSITIONAL:
            return
        elif isinstance(event, Delivered) and not done:
            yield f"{where}: {event.message} is delivered before synchronization is complete", event.time
            return
