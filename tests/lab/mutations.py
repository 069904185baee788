"""Faults planted in production code, to prove that the simulator and its checkers find them.

A mutation rewrites a piece of one function's source; where that piece is no longer found, the mutation has to follow
the code. `hunt` plays seeds until a checker finds the fault.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import totemd.groups.layer
import totemd.groups.reassembly
import totemd.node.host
import totemd.services.cpg.service
import totemd.services.votequorum.arithmetic
import totemd.services.votequorum.electorate
import totemd.services.votequorum.rules
import totemd.services.votequorum.service
import totemd.sync.engine
import totemd.totem.commit
import totemd.totem.core
import totemd.totem.delivery
import totemd.totem.direct
import totemd.totem.gather
import totemd.totem.install
import totemd.totem.plain
import totemd.totem.plain_messages
import totemd.totem.recovery
import totemd.totem.resting
import totemd.totem.ring
import totemd.totem.token
from totemd.sim.faults import PRESETS, Faults
from totemd.sim.run import run_seed

if TYPE_CHECKING:
    from collections.abc import Iterator

totem, groups, services = totemd.totem, totemd.groups, totemd.services
Core = totem.core.Core
Ring = totem.ring.Ring


@dataclass(frozen=True)
class Mutation:
    """A fault, the property that finds it, and within how many seeds (from 0 on) it has to be found."""

    name: str
    where: Any
    """A module, or a class."""
    function: str
    old: str
    new: str
    finds: tuple[str, ...]
    seeds: int = 100
    faults: Faults = PRESETS["all"]
    nodes: tuple[int, int] = (2, 5)
    surroundings: Callable[[pytest.MonkeyPatch], None] | None = None
    """What makes the fault matter; it is no fault itself."""

    @property
    def package(self) -> str:
        """What it is planted in."""
        module = self.where.__name__ if isinstance(self.where, ModuleType) else self.where.__module__
        parts = str(module).split(".")
        return parts[2] if parts[1] == "services" else "ring" if parts[1] == "totem" else parts[1]


def rewritten(function: Any, old: str, new: str) -> Any:
    """The function with `old` in its source, which must be there once, replaced by `new`."""
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(old) != 1:
        raise LookupError(f"{function.__qualname__} has {old!r} {source.count(old)} times")
    names: dict[str, Any] = {}
    exec(compile(source.replace(old, new), f"<mutated {function.__qualname__}>", "exec"), function.__globals__, names)
    return names[function.__name__]


def plant(mutation: Mutation, patch: pytest.MonkeyPatch) -> None:
    """Put the fault into the code, wherever the function is known by its name."""
    if isinstance(mutation.where, ModuleType):
        original = getattr(mutation.where, mutation.function)
        mutated = rewritten(original, mutation.old, mutation.new)
        for name, module in list(sys.modules.items()):
            if name.startswith("totemd.") and getattr(module, mutation.function, None) is original:
                patch.setattr(module, mutation.function, mutated)
        return
    original = inspect.getattr_static(mutation.where, mutation.function)
    if isinstance(original, property):
        patch.setattr(mutation.where, mutation.function, property(rewritten_getter(original, mutation)))
    else:
        patch.setattr(mutation.where, mutation.function, rewritten(original, mutation.old, mutation.new))


def rewritten_getter(original: property, mutation: Mutation) -> Any:
    """A property's getter, mutated."""
    source = textwrap.dedent(inspect.getsource(original.fget)).replace("@property\n", "")  # type: ignore[arg-type]
    if source.count(mutation.old) != 1:
        raise LookupError(f"{mutation.function} has {mutation.old!r} {source.count(mutation.old)} times")
    names: dict[str, Any] = {}
    exec(source.replace(mutation.old, mutation.new), original.fget.__globals__, names)  # type: ignore[union-attr]
    return names[mutation.function]


@contextmanager
def planted(mutation: Mutation, *, fault: bool = True) -> Iterator[None]:
    """Have the mutation in force; without `fault` its surroundings only."""
    with pytest.MonkeyPatch.context() as patch:
        if mutation.surroundings is not None:
            mutation.surroundings(patch)
        if fault:
            plant(mutation, patch)
        yield


def broken(mutation: Mutation, seed: int, *, fault: bool = True) -> set[str]:
    """The properties that do not hold with the fault, or in its surroundings alone."""
    with planted(mutation, fault=fault):
        outcome = run_seed(seed, nodes=mutation.nodes, faults=mutation.faults)
    return {violation.property for violation in outcome.violations}


def hunt(mutation: Mutation, seeds: int | None = None) -> tuple[int, set[str]] | None:
    """The first seed that shows the fault by a property that ought to, and breaks nothing without it; and all
    properties that do not hold there."""
    for seed in range(mutation.seeds if seeds is None else seeds):
        found = broken(mutation, seed)
        if found & set(mutation.finds) and not broken(mutation, seed, fault=False):
            return seed, found
    return None


def _small_window(patch: pytest.MonkeyPatch) -> None:
    """The window of live messages is so short that senders come to its end."""
    patch.setattr(totem.token, "SEQUENCE_WINDOW", 96)
    patch.setattr(sys.modules["totemd.totem.window"], "SEQUENCE_WINDOW", 96)


def _no_second_sending(patch: pytest.MonkeyPatch) -> None:
    """A half-sent message goes on where it was, as in corosync. Alone, that hurts only those who are new in a ring."""
    patch.setattr(Ring, "restart_unfinished", lambda ring, preface: None)


def _not_held(patch: pytest.MonkeyPatch) -> None:
    """The groups layer does not hold back what comes during synchronization: that nothing comes is up to cpg."""
    host = totemd.node.host.ServiceHost
    mutated = rewritten(host.multicast, "after_sync=not node.sync.collecting", "after_sync=False")
    patch.setattr(host, "multicast", mutated)


HARD = Faults(
    loss_max=0.15, late_max=0.2, counts=(6, 14), partitions=4, crashes=4, pauses=2, losses=3, ghosts=2, chokes=2
)
"""Old messages are missing nearly whenever a ring ends, and recoveries are cut short."""

LOST = ("self-delivery", "all delivered", "settles", "no gaps", "virtual synchrony")
"""What shows that messages are lost."""

STUCK = ("one ring", "settles", "all delivered")
"""What shows that no ring is made, or nothing goes on in it."""

MUTATIONS = (
    # The ring: ordering
    Mutation(
        "a hole is skipped: delivery before aru",
        totem.delivery,
        "deliver",
        "message = items.get(core.high_delivered + 1)\n",
        "message = items.get(core.high_delivered + 1)\n"
        "        if message is None and core.high > core.high_delivered + 1:\n"
        "            core.high_delivered += 1\n"
        "            continue\n",
        ("no gaps", "self-delivery", "virtual synchrony"),
    ),
    Mutation(
        "SAFE is treated as AGREED",
        totem.delivery,
        "deliver",
        "message.guarantee == GUARANTEE_SAFE and",
        "False and",
        ("safe delivery",),
    ),
    Mutation(
        "safe after one rotation instead of two",
        totem.delivery,
        "note_received_by_all",
        "min(core.last_aru, token_aru)",
        "token_aru & 0x7FFFFFFF",
        ("safe delivery", *LOST),
        seeds=300,
        faults=HARD,
    ),
    Mutation(
        "what is delivered here is released, whoever else lacks it",
        totem.delivery,
        "note_received_by_all",
        "min(shown, core.high_delivered)",
        "core.high_delivered",
        LOST,
    ),
    Mutation(
        "the token's aru is never lowered",
        totem.resting,
        "show_aru",
        "if precedes(core.aru, aru) or aru_addr",
        "if aru_addr",
        ("safe delivery", *LOST),
    ),
    Mutation(
        "no guard against the window's overflow",
        totem.token,
        "handle_token",
        "        allowed = 0\n",
        "        pass\n",
        ("self-delivery", "all delivered", "settles"),
        surroundings=_small_window,
    ),
    Mutation(
        "a token that comes twice is taken twice",
        totem.token,
        "handle_token",
        "if precedes_or_equals(token.token_seq, core.my_token_seq):",
        "if False:",
        ("agreed order", "integrity", *LOST),
    ),
    Mutation(
        "sent messages are not counted by the token",
        totem.token,
        "handle_token",
        "core.me, target, seq, ",
        "core.me, target, token.seq, ",
        ("agreed order", "no gaps", *LOST),
    ),
    Mutation(
        "a plain visit although messages are missing",
        totem.plain,
        "visit_plainly",
        "or seq != core.aru",
        "or seq < core.aru",
        LOST,
    ),
    Mutation(
        "plain messages are taken although one is missing before them",
        totem.plain_messages,
        "take_in_order",
        "number != seq + 1",
        "number <= seq",
        LOST,
    ),
    Mutation(
        "what a plain visit sent is not counted by the token",
        totem.plain,
        "visit_plainly",
        "    seq += sent",
        "    seq += 0",
        ("agreed order", "no gaps", *LOST),
    ),
    Mutation(
        "the successor is the next but one",
        Core,
        "successor",
        "members.index(self.me) + 1",
        "members.index(self.me) + 2",
        STUCK,
    ),
    # The ring: the direct token
    Mutation(
        "a lent token stays where it was as well",
        totem.direct,
        "_give",
        "core.parked = direct.holding = False",
        "core.parked = core.parked and core.ring.rep == core.me",
        ("agreed order", *LOST),
    ),
    Mutation(
        "a loan that comes twice is taken twice",
        totem.direct,
        "handle_loan",
        "if precedes_or_equals(loan.token_seq, core.my_token_seq):",
        "if False:",
        ("agreed order", *LOST),
        seeds=300,
    ),
    Mutation(
        "what was sent on loan is not counted by the token",
        totem.direct,
        "handle_loan",
        "    direct.seq = loan.seq",
        "    direct.seq = direct.seq if at_home else loan.seq",
        ("agreed order", *LOST),
    ),
    Mutation(
        "the token that came back goes on to who had it",
        totem.resting,
        "release",
        "core.successor(core.new_memb)",
        "core.token_copy[0]",
        LOST,
        seeds=900,
    ),
    # The ring: membership
    Mutation(
        "the ring number is forgotten by a restart",
        Core,
        "__init__",
        "RingId(nodeid, stored_ring_seq + 1)",
        "RingId(nodeid, 1)",
        ("ring ids grow", "one membership"),
    ),
    Mutation(
        "the ring number is not persisted",
        totem.commit,
        "enter_commit",
        "core.persist_ring_seq(token.ring.seq)",
        "pass",
        ("ring ids grow",),
    ),
    Mutation(
        "a lone node does not wait for its disk",
        Core,
        "persist_ring_seq",
        "if self.emit(PersistRingSeq(seq)):",
        "if self.emit(PersistRingSeq(seq)) and False:",
        ("ring ids grow", "one membership"),
        seeds=300,
        faults=PRESETS["crashes"],
    ),
    Mutation(
        "a new ring's number is that of the last one",
        totem.commit,
        "propose",
        "core.token_ring_seq + RING_SEQ_STEP",
        "max(core.ring.seq, 1)",
        ("ring ids grow", *STUCK),
    ),
    Mutation(
        "a stale join is accepted",
        totem.gather,
        "_is_stale",
        "return sender not in core.new_memb or join.ring_seq < core.ring.seq",
        "return False",
        STUCK,
    ),
    Mutation(
        "those who failed are proposed as members",
        totem.commit,
        "propose",
        "for nodeid in core.proc if nodeid not in core.failed",
        "for nodeid in core.proc",
        STUCK,
    ),
    Mutation(
        "another ring that is heard is not met",
        Ring,
        "_foreign",
        "if core.state not in (State.OPERATIONAL, State.GATHER):",
        "if True:",
        STUCK,
    ),
    Mutation(
        "a lone ring shows itself to nobody",
        Ring,
        "_show_ring",
        "if core.state is State.OPERATIONAL and core.is_representative:",
        "if False:",
        STUCK,
    ),
    # The ring: recovery
    Mutation(
        "old messages are not sent again",
        totem.recovery,
        "_plan",
        "core.recovery_queue.append(message)",
        "pass",
        ("virtual synchrony", *LOST),
    ),
    Mutation(
        "who lacks old messages says that it has all",
        totem.commit,
        "_fill_in",
        "CommitEntry(entry.ring, entry.aru, entry.high_delivered, 0)",
        "entry",
        ("virtual synchrony", *LOST),
        seeds=300,
        faults=HARD,
    ),
    Mutation(
        "what an attempt recovered stays for the next one",
        totem.recovery,
        "enter_recovery",
        "core.recovery_window = Window()",
        "pass",
        ("virtual synchrony", "one configuration", "agreed order", *LOST, *STUCK),
        seeds=300,
        faults=HARD,
    ),
    Mutation(
        "what the next ring made safe counts for the old one",
        totem.commit,
        "enter_commit",
        "core.old_safe_up_to = core.safe_up_to",
        "core.old_safe_up_to = core.high",
        ("safe delivery",),
        seeds=200,
    ),
    Mutation(
        "old messages that were sent again are not taken over",
        totem.install,
        "_take_over_recovered",
        "if inner is not None and inner.ring == core.old_ring and",
        "if False and inner is not None and",
        ("virtual synchrony", *LOST),
    ),
    Mutation(
        "beyond a hole everybody's old messages are delivered",
        totem.install,
        "_deliver_in_transitional_configuration",
        "message.system_from in core.deliver_from",
        "True",
        ("no gaps", "views follow", "same views"),
        seeds=300,
    ),
    Mutation(
        "who comes from another ring counts as a transitional member",
        totem.recovery,
        "_plan",
        "if nodeid in entries and entries[nodeid].ring == core.old_ring",
        "if nodeid in entries",
        ("transitional members",),
    ),
    Mutation(
        "SAFE messages do not wait for the transitional configuration",
        totem.install,
        "_deliver_in_old_configuration",
        "message.guarantee == GUARANTEE_SAFE and",
        "False and",
        ("safe delivery",),
        seeds=200,
    ),
    Mutation(
        "an attempt refers to the last attempt, not to the last installed ring",
        totem.commit,
        "enter_commit",
        "if not core.saved:",
        "if True:",
        ("transitional members", "virtual synchrony", *LOST),
    ),
    Mutation(
        "the ring is installed before the old messages have been exchanged",
        totem.recovery,
        "count_rotations",
        "if core.rotation_counter < 2:",
        "if core.retrans_flg_count < 1:",
        ("virtual synchrony", *LOST),
        faults=HARD,
    ),
    # Groups
    Mutation(
        "reassembly buffers are not switched",
        groups.reassembly.Reassembly,
        "switch",
        "self._transitional if transitional else self._regular",
        "self._regular",
        LOST,
        seeds=300,
        faults=PRESETS["pauses"],
        surroundings=_no_second_sending,
    ),
    Mutation(
        "clients' messages are taken during synchronization",
        services.cpg.service.Cpg,
        "_multicast",
        "if self._host.sync_in_progress:",
        "if False:",
        ("synchronized service", *LOST),
        surroundings=_not_held,
    ),
    Mutation(
        "the transitional queue is not switched to",
        totem.install,
        "install_ring",
        "core.waiting_trans_ack = True",
        "pass",
        ("synchronized service", *STUCK),
    ),
    Mutation(
        "a half-sent message is not sent again as a whole",
        Ring,
        "restart_unfinished",
        "if core.started:",
        "if False:",
        LOST,
        seeds=300,
    ),
    # Synchronization
    Mutation(
        "a barrier is counted twice",
        totemd.sync.engine.SyncEngine,
        "_all_received",
        "if len(self._received) < len(self._members):",
        "if len(self._received) * 2 < len(self._members):",
        ("same views", "synchronized service", "views follow", *STUCK),
    ),
    Mutation(
        "a barrier is sent without the service's state",
        totemd.sync.engine.SyncEngine,
        "_process",
        "done = service.sync_process()",
        "done = True",
        ("reasons", "same views"),
    ),
    # cpg
    Mutation(
        "the downlist is dropped: processes of lost nodes stay",
        services.cpg.service.Cpg,
        "sync_activate",
        "self._remove_lost_nodes(self._activated - self._survivors)",
        "pass",
        ("reasons",),
    ),
    Mutation(
        "only the last change tells who was lost",
        services.cpg.service.Cpg,
        "sync_init",
        "self._survivors &= frozenset(transitional)",
        "self._survivors = self._activated & frozenset(transitional)",
        ("reasons", "same views"),
        seeds=300,
    ),
    Mutation(
        "join lists are ignored",
        services.cpg.service.Cpg,
        "sync_activate",
        "self._add_announced(self._round)",
        "pass",
        ("same views", "views follow"),
    ),
    # votequorum
    Mutation(
        "votes are counted twice",
        services.votequorum.arithmetic,
        "tally",
        "votes = sum(voter.votes for voter in present)",
        "votes = 2 * sum(voter.votes for voter in present)",
        ("one quorate",),
    ),
    Mutation(
        "half of the votes are enough",
        services.votequorum.arithmetic,
        "calculate_quorum",
        "max((expected + 2) // 2, (count.votes + 2) // 2)",
        "max((expected + 1) // 2, (count.votes + 1) // 2)",
        ("one quorate",),
        seeds=200,
    ),
    Mutation(
        "dead nodes vote",
        services.votequorum.electorate.Electorate,
        "present",
        "if voter.state is VoterState.MEMBER",
        "if voter.state is not VoterState.LEAVING",
        ("one quorate",),
    ),
    Mutation(
        "the quorum falls with the votes that are present",
        services.votequorum.arithmetic,
        "calculate_quorum",
        "max((expected + 2) // 2, (count.votes + 2) // 2)",
        "(count.votes + 2) // 2",
        ("one quorate",),
    ),
    Mutation(
        "both halves have the tie breaker",
        services.votequorum.arithmetic,
        "_wins_tie",
        "return has_tie_breaker(electorate)",
        "return True",
        ("one quorate",),
        seeds=400,
    ),
    Mutation(
        "the verdict is not told after synchronization",
        services.votequorum.service.VoteQuorum,
        "sync_activate",
        "self._publish()",
        "pass",
        ("verdict in ring",),
    ),
)


CHAPTER = Path(__file__).parents[2] / "protocol" / "9-proof.md"
_HEAD = "| in | planted fault | found by | seeds needed |\n|---|---|---|---|\n"


def table(found: dict[str, tuple[int, set[str]] | None]) -> str:
    """The documentation's table: where, what, which properties found it, after how many seeds."""
    rows = []
    for mutation in MUTATIONS:
        result = found[mutation.name]
        by = "nothing" if result is None else ", ".join(name for name in mutation.finds if name in result[1])
        rows.append(f"| {mutation.package} | {mutation.name} | {by} | {0 if result is None else result[0] + 1} |\n")
    return _HEAD + "".join(rows)


def documented() -> dict[str, tuple[str, set[str], int]]:
    """What the chapter's table says: by name of the fault, the package, the properties, and the seeds needed."""
    text = CHAPTER.read_text()
    rows = text[text.index(_HEAD) + len(_HEAD) :].partition("\n\n")[0]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.splitlines()]
    return {name: (package, set(by.split(", ")), int(seeds)) for package, name, by, seeds in cells}


def write_table() -> None:
    """Hunt for all mutations and put the result into the chapter."""
    text = CHAPTER.read_text()
    before, _, rest = text.partition(_HEAD)
    found = {mutation.name: hunt(mutation) for mutation in MUTATIONS}
    CHAPTER.write_text(before + table(found) + "\n" + rest.partition("\n\n")[2])


if __name__ == "__main__":
    write_table()
