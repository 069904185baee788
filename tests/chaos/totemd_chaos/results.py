"""What a run was like, for people and as JSON."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from totemd.ids import RingId
from totemd.sim.history import Accepted, Configured, Delivered, Event, GroupChanged
from totemd.totem.api import ConfigurationKind
from totemd_chaos.checks import MEBIBYTE, Usage


@dataclass
class Round:
    """One round: faults, calm, judgement."""

    seed: str
    faults: int
    accepted: int = 0
    deliveries: int = 0
    rings: int = 0
    view_changes: int = 0
    lives: int = 0
    longest_silence_s: float = 0.0
    """Between two deliveries, anywhere."""
    settled_s: float = 0.0
    """From the end of the faults to one ring."""
    torn: int = 0
    """Messages of real nodes that new members of a ring could not deliver."""
    violations: list[str] = field(default_factory=list)


@dataclass
class Result:
    """The whole run."""

    kinds: str
    seed: str
    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    usage: list[Usage] = field(default_factory=list)
    daemons_started: int = 0
    ended_on_their_own: int = 0
    """Real daemons that aborted or gave up."""
    violations: list[str] = field(default_factory=list)
    kept: str = ""
    """Where the recordings are."""

    @property
    def ok(self) -> bool:
        return not self.violations

    def as_json(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}


def measure(events: Iterable[Event], into: Round) -> None:
    """Take a round's figures from its history."""
    rings: set[RingId] = set()
    lives: set[int] = set()
    last: float | None = None
    for event in events:
        if isinstance(event, Delivered):
            into.deliveries += 1
            if last is not None:
                into.longest_silence_s = max(into.longest_silence_s, event.time - last)
            last = event.time
            lives.add(event.life)
        elif isinstance(event, Accepted):
            into.accepted += 1
        elif isinstance(event, Configured) and event.kind is ConfigurationKind.REGULAR:
            rings.add(event.ring)
        elif isinstance(event, GroupChanged):
            into.view_changes += 1
    into.rings, into.lives = len(rings), len(lives)
    into.longest_silence_s = round(into.longest_silence_s, 3)


def summary(result: Result) -> str:
    """The figures, for people."""
    rounds = result.rounds
    accepted, deliveries = sum(one.accepted for one in rounds), sum(one.deliveries for one in rounds)
    rings, changes = sum(one.rings for one in rounds), sum(one.view_changes for one in rounds)
    silence = max((one.longest_silence_s for one in rounds), default=0.0)
    settled = max((one.settled_s for one in rounds), default=0.0)
    kinds = f"nodes {result.kinds} (T: totemd, C: corosync)"
    lines = [
        f"{kinds}, seed {result.seed}, {len(rounds)} rounds, {result.seconds:.0f} s",
        f"messages: {accepted} accepted, {deliveries} deliveries",
        f"membership: {rings} rings, {changes} changes of views, {result.daemons_started} daemons started",
        f"longest silence under faults {silence:.1f} s; one ring at most {settled:.1f} s after their end",
        "faults: " + "; ".join(f"{count} x {name}" for name, count in sorted(result.faults.items())),
    ]
    if "C" in result.kinds:
        lines.append(f"messages that real nodes tore between two rings: {sum(one.torn for one in rounds)}")
    if result.ended_on_their_own:
        lines.append(f"real daemons that ended on their own: {result.ended_on_their_own}")
    lines += [
        f"node {usage.node}: {usage.seconds:.0f} s, RSS {usage.rss_first_bytes / MEBIBYTE:.1f} -> "
        f"{usage.rss_last_bytes / MEBIBYTE:.1f} MiB (max {usage.rss_max_bytes / MEBIBYTE:.1f}), descriptors "
        f"{usage.descriptors_first}, max {usage.descriptors_max}, processor {100 * usage.cpu_share:.0f} %"
        for usage in result.usage
    ]
    lines.append("no violation" if result.ok else f"{len(result.violations)} VIOLATIONS")
    return "\n".join(lines)
