"""Single messages: what is delivered was sent so, once, and one's own comes back."""

from collections.abc import Iterator

from totemd.sim.checkers.checker import Finding
from totemd.sim.checkers.chronicle import Chronicle, Story
from totemd.sim.history import Accepted, Delivered, GroupChanged, Limits, MessageId


def integrity(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """A message that is delivered was accepted by its sender's daemon, arrives with the bytes and the guarantee with
    which it was sent, from the process that sent it, and once in a life.

    `Accepted` may stand behind the deliveries (a client learns late that its message was taken); a request whose answer
    was lost with the daemon is recorded as accepted when that life ends.
    """
    accepted = {event.message: event for story in chronicle.stories.values() for event in story.accepted}
    first: dict[MessageId, Delivered] = {}
    for story in chronicle.stories.values():
        seen: set[MessageId] = set()
        for event in story.delivered():
            where = f"life {story.life} of node {story.node}: message {event.message}"
            if event.message in seen:
                yield f"{where} is delivered twice", event.time
                continue
            seen.add(event.message)
            source = accepted.get(event.message)
            if source is None:
                yield f"{where} was never accepted", event.time
                continue
            if source.safe != event.safe:
                yield f"{where} was sent {_word(source.safe)} and is delivered {_word(event.safe)}", event.time
            if source.node != event.sender[0]:
                yield f"{where} of node {source.node} is delivered as node {event.sender[0]}'s", event.time
            other = first.setdefault(event.message, event)
            if other.digest != event.digest:
                yield f"{where} has other bytes than at life {other.life}", event.time
            if other.sender != event.sender:
                yield f"{where} is from {event.sender}, at life {other.life} from {other.sender}", event.time


def _word(safe: bool) -> str:
    return "safe" if safe else "agreed"


def self_delivery(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """A process gets its own messages in the order in which they were accepted, none is left out, and all before its
    leave from the group. (That the last ones come at all is for `liveness`.)"""
    for story in chronicle.stories.values():
        yield from _own_messages(story)


def _own_messages(story: Story) -> Iterator[Finding]:
    due = iter(event.message for event in story.accepted)
    came = 0
    where = f"life {story.life} of node {story.node}"
    for event in story.events:
        if isinstance(event, Delivered) and event.message[0] == story.life:
            expected = next(due, event.message)
            if expected != event.message:
                yield f"{where}: its own {event.message} is delivered where {expected} is due", event.time
                return
            came += 1
        elif isinstance(event, GroupChanged) and story.process is not None and came < len(story.accepted):
            waiting = story.accepted[came]
            if (*story.process, "leave") in event.left and _before(story, waiting, event):
                yield f"{where} has left the group before its own {waiting.message} is delivered", event.time
                return


def _before(story: Story, accepted: Accepted, left: GroupChanged) -> bool:
    """Whether the message was accepted before the leave was delivered. One that is accepted at the same time may be
    the first of the next membership."""
    return accepted.time < left.time
