"""What a node decides about another one that shows its credentials (chapter "Sealed datagrams", "Admission")."""

from enum import StrEnum
from typing import Final

from totemd.record import record


class Reason(StrEnum):
    """Why a node is refused: the words of logs, status and counters."""

    UNLISTED = "unlisted"
    """The nodelist has no such node."""
    REMOVED = "removed"
    """It was taken out of the cluster for good."""
    WRONG_IDENTITY = "wrong-identity"
    """The node with this id is another machine."""
    DUPLICATE = "duplicate"
    """A node with this id is here already, and alive."""
    STALE = "stale"
    """Its configuration is older."""
    NEWER = "newer"
    """Its configuration is newer: ours is the old one."""
    CONFLICT = "conflict"
    """Its configuration has the same version and says something else."""
    OTHER_CLUSTER = "other-cluster"
    FEATURES = "features"
    """It cannot do what the cluster uses, or the other way round."""

    @property
    def code(self) -> int:
        """The number that stands for it on the wire."""
        return _CODES[self]

    @property
    def may_catch_up(self) -> bool:
        """Whether the two may talk to each other, though not on the ring, until they have the same configuration."""
        return self in (Reason.STALE, Reason.NEWER)


_CODES: Final[dict[Reason, int]] = {reason: number for number, reason in enumerate(Reason, 1)}
REASON_OF_CODE: Final[dict[int, Reason]] = {number: reason for reason, number in _CODES.items()}


@record
class Verdict:
    """Admitted, or refused for `reason`. `text` says what was found, `remedy` what to do, each in a few words."""

    reason: Reason | None
    text: str = ""
    remedy: str = ""

    @property
    def admitted(self) -> bool:
        """Whether the node may take part in the ring."""
        return self.reason is None


ADMITTED: Final = Verdict(None)


def refused(reason: Reason, text: str, remedy: str) -> Verdict:
    """The verdict that keeps a node out."""
    return Verdict(reason, text, remedy)
