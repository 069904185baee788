"""What the service "changes" tells its callers, and what it needs of the node around it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from totemd.cluster.change import Change
from totemd.config.model import Configuration
from totemd.ids import NodeId


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request. `reasons` are those of the nodes that refuse; `why` is one for all, for people."""

    accepted: bool
    version: int = 0
    """The committed version, of a change that was accepted."""
    reasons: Mapping[NodeId, str] = field(default_factory=dict)
    why: str = ""
    undecided: bool = False
    """It may still become true: the history will tell."""
    quorate: bool = True
    """False: refused for lack of quorum."""
    again: bool = False
    """Cut short by something that passes: worth another try in a moment."""


OutcomeDone: TypeAlias = Callable[[Outcome], None]


class Surroundings(Protocol):
    """What the node does for the service. Nothing here calls back into it before returning."""

    def check(self, ident: bytes, text: str) -> None:
        """Have the text read as this node's configuration; `Changes.configuration_checked` answers."""

    def store(self, name: str, data: bytes, ident: bytes) -> None:
        """Write a file of the state, in order; `Changes.change_stored` answers when it is durable."""

    def write(self, text: str, key_ring: bytes | None) -> None:
        """Have the configuration file (and the key file) written."""

    def objections(self, configuration: Configuration) -> tuple[str, ...]:
        """Why a running node could not take it over."""

    def activate(self, configuration: Configuration) -> str | None:
        """Have it in force from here on; or why it takes a new start."""

    def configuration(self) -> Configuration:
        """What is in force."""

    def form_ring(self, reason: str) -> None:
        """Have the ring formed anew."""

    def quorate(self) -> bool:
        """Whether this node's component has quorum."""

    def obstacle(self) -> str:
        """Why this component must not decide on changes now: it has no quorum, or has it by a quorum device only. "" if
        it may."""

    def unix_time(self) -> int:
        """The time of day, seconds; for people."""

    def open_box(self, change: Change) -> bytes | None:
        """The key ring that comes with the change for this node, None if none does. BadPacket: it does not open."""

    def has_keys(self, key_ring: bytes) -> bool:
        """Whether this node seals with the sending key of this ring, or does not seal."""

    def accept_keys(self, key_ring: bytes) -> None:
        """Understand what is sealed with the keys of this ring, too."""

    def switch_keys(self, key_ring: bytes) -> None:
        """Seal with this ring from here on; the old keys are understood for a while."""
