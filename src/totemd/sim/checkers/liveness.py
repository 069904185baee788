"""What has to happen once nothing fails any more, and what never grows.

Who records `Calm` goes on until the cluster has settled or `limits.settle_s` has passed, and lets nobody multicast in
the last part of that time: at the end of the history everything is due.
"""

from collections.abc import Iterator

from totemd.sim.checkers.checker import Finding
from totemd.sim.checkers.chronicle import Chronicle, Story, common_begin
from totemd.sim.history import Calm, End, Limits, Measured, Synchronized


def one_ring(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """Within `limits.settle_s` after `Calm` its nodes are in one synchronized ring, and stay
    there."""
    calm = chronicle.calm
    if calm is None:
        return
    deadline = calm.time + limits.settle_s
    stories = _living(chronicle, calm)
    members = tuple(story.node for story in stories)
    for nodeid in sorted(set(calm.nodes) - set(members)):
        last = chronicle.by_node[nodeid][-1] if nodeid in chronicle.by_node else None
        # A leave that was asked for before the calm may take until after it.
        if last is None or last.ended is None or last.ended.how is not End.LEAVE:
            yield f"node {nodeid} does not run in the end", deadline
    for story in stories:
        span = story.last
        where = f"life {story.life} of node {story.node} in the end"
        if span.configured is None or span.configured.members != members:
            found = "no ring" if span.configured is None else f"ring {span.ring} of {span.configured.members}"
            yield f"{where}: in {found}, not of {members}", deadline
            continue
        done = [event.time for event in span.events if isinstance(event, Synchronized)]
        if not done or span.transition is not None:
            yield f"{where}: ring {span.ring} is not synchronized", deadline
        elif done[0] > deadline:
            yield f"{where}: ring {span.ring} was synchronized {done[0] - calm.time:.1f} s after the calm", done[0]
        elif span.ring != stories[0].last.ring:
            yield f"{where}: in ring {span.ring}, another than {stories[0].last.ring}", deadline


def all_delivered(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """After `Calm` every message that a living process got accepted is delivered to it within `limits.settle_s`. All
    processes in the group have delivered the same in the last ring, and have the same view."""
    calm = chronicle.calm
    if calm is None:
        return
    stories = _living(chronicle, calm)
    for story in stories:
        yield from _own_come_back(story, calm, limits)
    members = [story for story in stories if story.hears]
    if len({story.last.ring for story in members}) != 1:
        return
    model = max(members, key=lambda story: len(_in_last_piece(story)))
    reference = _in_last_piece(model)
    for story in members:
        messages = _in_last_piece(story)
        mine, models = story.last.last_piece, model.last.last_piece
        begins = common_begin(mine, models) if mine is not None and models is not None else None
        skip, begin = begins or (0, max(0, len(reference) - len(messages)))
        messages, due = messages[skip:], reference[begin:]
        if messages != due:
            lacking = sorted(set(due) - set(messages))[:5]
            text = f"life {story.life} of node {story.node} lacks {lacking} in the last ring, compared with life "
            yield f"{text}{model.life}", calm.time + limits.settle_s
        if story.view != model.view:
            text = f"in the end the view is {sorted(story.view or ())} at life {story.life}, {sorted(model.view or ())}"
            yield f"{text} at life {model.life}", calm.time + limits.settle_s


def _own_come_back(story: Story, calm: Calm, limits: Limits) -> Iterator[Finding]:
    came = {event.message: event.time for event in story.delivered() if event.message[0] == story.life}
    for accepted in story.accepted:
        due = max(accepted.time, calm.time) + limits.settle_s
        if accepted.message not in came:
            yield f"life {story.life} of node {story.node}: its own {accepted.message} is never delivered", due
            return
        if came[accepted.message] > due:
            text = f"life {story.life} of node {story.node}: its own {accepted.message} took until "
            yield f"{text}{came[accepted.message]:.1f} s", came[accepted.message]
            return


def _living(chronicle: Chronicle, calm: Calm) -> list[Story]:
    lasts = [chronicle.by_node[nodeid][-1] for nodeid in sorted(calm.nodes) if nodeid in chronicle.by_node]
    return [story for story in lasts if story.ended is None]


def _in_last_piece(story: Story) -> list[tuple[int, int]]:
    pieces = story.last.pieces
    return [event.message for event in pieces[-1].regular] if pieces else []


def bounds(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """No queue or buffer of a node that is measured holds more than its bound."""
    for event in chronicle.history:
        if isinstance(event, Measured) and event.amount > event.bound:
            text = f"life {event.life} of node {event.node}: {event.name} holds {event.amount} of at most {event.bound}"
            yield text, event.time
