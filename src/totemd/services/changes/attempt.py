"""One attempt in a ring to decide on the successor of the committed version, and what the members say of it."""

from dataclasses import dataclass, field
from typing import Final

from totemd.cluster.change import Change
from totemd.config.model import Configuration
from totemd.ids import NodeId

PATIENCE_S: Final = 10.0
"""After so long without all answers a change that can still be refused is."""


@dataclass(slots=True, eq=False)
class Attempt:
    """`change` None: that nothing follows, after the attempt of `refused` failed. `firm`: it may be decided already."""

    number: int
    change: Change | None
    firm: bool
    deadline: float
    refused: Change | None = None
    why: str = ""
    reasons: dict[NodeId, str] = field(default_factory=dict)
    """Of those who refused: for `change`, or of the attempt that failed before."""
    prepared: set[NodeId] = field(default_factory=set)
    answered: bool = False
    """This node has said what it thinks, or is about to."""
    configuration: Configuration | None = None
    """What the change means here; None as well if this node is no longer in the nodelist."""
    key_ring: bytes | None = None
    decision_sent: bool = False

    @property
    def subject(self) -> Change:
        """The change that this is about."""
        subject = self.change if self.change is not None else self.refused
        assert subject is not None
        return subject
