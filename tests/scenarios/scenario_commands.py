"""The commands of a transcript, and what they print. A scenario is a list of (command, expected lines)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from scenario_cluster import Cluster, Loss, Member
from totemd.errors import ServiceError
from totemd.ids import NO_RING, NodeId, RingId
from totemd.sim.render import effect_line, state_line, timers_line
from totemd.totem.core import State
from totemd.totem.effects import Log
from totemd.wire.packets import (
    GUARANTEE_AGREED,
    LEAVE_SENDER,
    ORDINARY,
    CommitEntry,
    CommitToken,
    HoldCancel,
    Join,
    MergeDetect,
    OrfToken,
    encode_commit_token,
    encode_hold_cancel,
    encode_join,
    encode_mcast,
    encode_merge_detect,
    encode_orf_token,
)

Options: TypeAlias = dict[str, str]

AWAIT_S = 30.0
_EMPTY = CommitEntry(NO_RING, 0, 0, 0)
TIMERS = ("token", "retransmit", "hold", "merge", "join", "consensus")


class BadCommand(Exception):
    """The transcript says something that the runner does not know."""


class Scenario:
    """Runs commands one by one; each gives its output."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._cluster: Cluster | None = None
        self._commands: dict[str, Callable[[list[str], Options], None]] = {
            "cluster": self._make,
            "start": self._start,
            "crash": self._crash,
            "leave": self._leave,
            "pause": self._pause,
            "resume": self._resume,
            "send": self._send,
            "step": self._step,
            "tick": self._tick,
            "await": self._await,
            "drop": self._drop,
            "partition": self._partition,
            "heal": self._heal,
            "trace": self._trace,
            "show": self._show,
            "at": self._at,
            "inject": self._inject,
            "expire": self._expire,
        }

    def run(self, command: str) -> list[str]:
        """Carry a command out. BadCommand if it is none."""
        words = shlex.split(command)
        options = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        plain = [word for word in words[1:] if "=" not in word]
        action = self._commands.get(words[0])
        if action is None:
            raise BadCommand(f"unknown command {words[0]!r}; known are {', '.join(self._commands)}")
        try:
            action(plain, options)
        except (KeyError, IndexError, ValueError) as problem:
            raise BadCommand(f"{command}: {problem!r}") from problem
        lines, self._lines = self._lines, []
        return lines

    @property
    def cluster(self) -> Cluster:
        if self._cluster is None:
            raise BadCommand("there is no cluster yet")
        return self._cluster

    def _say(self, line: str) -> None:
        self._lines.append(line)

    def _member(self, word: str) -> Member:
        return self.cluster.members[int(word)]

    # The cluster

    def _make(self, words: list[str], options: Options) -> None:
        """cluster nodes=3 [rings] [quorum="two_node: 1"] [totem="window_size: 10"]: `rings`: no layers above them."""
        quorum, totem = options.get("quorum", "").replace(";", "\n"), options.get("totem", "").replace(";", "\n")
        rings = "rings" in words
        self._cluster = Cluster(int(options["nodes"]), rings=rings, quorum=quorum, totem=totem, say=self._say)

    def _start(self, words: list[str], options: Options) -> None:
        """start 1 2: with what their disks hold."""
        for word in words:
            self.cluster.start(int(word))

    def _crash(self, words: list[str], options: Options) -> None:
        """crash 1"""
        for word in words:
            self._member(word).alive = False

    def _leave(self, words: list[str], options: Options) -> None:
        """leave 2: a clean stop."""
        for word in words:
            member = self._member(word)
            member.leave()
            self.cluster.perform(member)

    def _pause(self, words: list[str], options: Options) -> None:
        """pause 2: it does nothing, and what is sent to it meanwhile is lost."""
        self.cluster.paused.update(map(int, words))

    def _resume(self, words: list[str], options: Options) -> None:
        """resume 2"""
        self.cluster.paused.difference_update(map(int, words))

    def _send(self, words: list[str], options: Options) -> None:
        """send 1 "a" [safe] [times=20]: with `times`, a1, a2 ..."""
        member = self._member(words[0])
        times = int(options.get("times", "1"))
        for number in range(1, times + 1):
            text = f"{words[1]}{number}" if "times" in options else words[1]
            try:
                member.send(text, safe="safe" in words[2:])
            except ServiceError as error:
                member.say(f"refused: {error.code.name.lower()}: {error}")
        self.cluster.perform(member)

    # Time

    def _step(self, words: list[str], options: Options) -> None:
        """step [5]: so many packets or timers."""
        for _ in range(int(words[0]) if words else 1):
            self.cluster.step()

    def _tick(self, words: list[str], options: Options) -> None:
        """tick 100ms: time passes; packets travel, timers expire."""
        self.cluster.run(_seconds(words[0]), lambda: False)

    def _await(self, words: list[str], options: Options) -> None:
        """await formed 1 2 | state 2 commit | delivered 3 [count=5] [within=2s]: and how long it took."""
        cluster = self.cluster
        until = self._condition(words, options)
        begin = cluster.now
        within_s = _seconds(options.get("within", f"{AWAIT_S}s"))
        if cluster.run(within_s, until):
            self._say(f"after {(cluster.now - begin) * 1000:.1f} ms")
        else:
            self._say(f"NOT within {within_s:g} s")

    def _condition(self, words: list[str], options: Options) -> Callable[[], bool]:
        if words[0] == "formed":
            nodes = tuple(sorted(map(int, words[1:]))) or tuple(each.nodeid for each in self.cluster.living())
            return lambda: self.cluster.formed(nodes)
        member = self._member(words[1])
        if words[0] == "state":
            state = State(words[2])
            return lambda: member.core.state is state
        if words[0] == "delivered":
            wanted = int(options.get("count", "1"))
            return lambda: len(member.delivered) >= wanted
        raise ValueError(words[0])

    # The network

    def _drop(self, words: list[str], options: Options) -> None:
        """drop mcast [from=1] [to=3] [seq=5] [count=2] | drop nothing: packets that are lost from now on."""
        if words[0] == "nothing":
            self.cluster.losses.clear()
            return
        source, target, seq = (int(options[key]) if key in options else None for key in ("from", "to", "seq"))
        loss = Loss(words[0], source, target, seq)
        self.cluster.losses.append(replace(loss, left=int(options["count"])) if "count" in options else loss)

    def _partition(self, words: list[str], options: Options) -> None:
        """partition 1,2|3"""
        parts = enumerate(words[0].split("|"))
        self.cluster.component = {int(node): index for index, part in parts for node in part.split(",")}

    def _heal(self, words: list[str], options: Options) -> None:
        """heal: end of the partition."""
        self.cluster.component = {}

    # What is seen

    def _trace(self, words: list[str], options: Options) -> None:
        """trace on | off: show every packet as it arrives."""
        self.cluster.trace = words[0] == "on"

    def _show(self, words: list[str], options: Options) -> None:
        """show states | timers | deliveries | quorum | disk [nodes]"""
        chosen = [self._member(word) for word in words[1:]] or self.cluster.living()
        for member in chosen:
            self._say(f"n{member.nodeid} {self._shown(words[0], member)}")

    def _shown(self, what: str, member: Member) -> str:
        if what == "states":
            return state_line(member.core)
        if what == "timers":
            return timers_line(member.core)
        if what == "deliveries":
            return " ".join(member.delivered) or "-"
        if what == "disk":
            return str(self.cluster.disk.get(member.nodeid, 0))
        if what == "quorum":
            return _quorum_text(member)
        raise ValueError(what)

    # Single events, for the table of states

    def _at(self, words: list[str], options: Options) -> None:
        """at commit 2 [load]: three rings formed 1/9, of which node 3 has crashed; node 2 (or 1) just came into that
        state. `load`: nodes 1 and 2 have three messages of the old ring. `at operational` is before the crash."""
        state, node = State(words[0]), words[1]
        self._make(["rings"], {"nodes": "4"})
        self._start(["1", "2", "3"], {})
        self._await(["formed", "1", "2", "3"], {})
        self.cluster.run(0.02, lambda: False)
        if "load" in words:
            self._send(["1", "m"], {"times": "3"})
            self._await(["delivered", "2"], {"count": "3"})
        if state is not State.OPERATIONAL:
            self._crash(["3"], {})
            self._await(["state", node, state.value], {})
        self._lines.clear()

    def _inject(self, words: list[str], options: Options) -> None:
        """inject 2 join from=3 proc=1,2,3 failed=- seq=+4: a packet arrives; what the node does thereupon.
        Numbers with a sign count from the node's ring number (mcast: from its high)."""
        member = self._member(words[0])
        before = member.core.state
        member.receive(self._packet(member, words[1], words[2:], options), int(options["from"]))
        self._tell(member, before)

    def _expire(self, words: list[str], options: Options) -> None:
        """expire 2 token: that timer is due; what the node does thereupon."""
        member = self._member(words[0])
        core, cluster = member.core, self.cluster
        if words[1] not in TIMERS:
            raise ValueError(words[1])
        if getattr(core, f"{words[1]}_deadline") == float("inf"):
            self._say("does not run")
            return
        setattr(core, f"{words[1]}_deadline", cluster.now)
        before = core.state
        member.handle_timer()
        self._tell(member, before)

    def _tell(self, member: Member, before: State) -> None:
        if member.core.join_deadline <= self.cluster.now:
            # A join is sent when everything that arrived together has been handled.
            member.handle_timer()
        for effect in self.cluster.perform(member):
            if not isinstance(effect, Log):
                self._say(f"n{member.nodeid} {effect_line(effect)}")
        after = member.core.state
        changed = f"{before.value} -> {after.value}" if before is not after else after.value
        self._say(f"n{member.nodeid} {changed}")

    def _packet(self, member: Member, kind: str, words: list[str], options: Options) -> bytes:
        core = member.core
        source = int(options["from"])
        ring = _ring(options.get("ring", "same"), core.ring)
        if kind in ("join", "leave"):
            sender = LEAVE_SENDER if kind == "leave" else source
            seq = _number(options.get("seq", "+0"), core.ring.seq)
            join = Join(sender, source, seq, _nodes(options["proc"]), _nodes(options.get("failed", "-")))
            return encode_join(join)
        if kind == "mcast":
            seq = _number(options.get("seq", "+1"), core.high)
            payload = options.get("text", "x").encode()
            return encode_mcast(source, ORDINARY, seq, 0, ring, GUARANTEE_AGREED, payload)
        if kind == "merge":
            return encode_merge_detect(MergeDetect(source, source, ring))
        if kind == "cancel":
            return encode_hold_cancel(HoldCancel(source, ring))
        if kind == "token":
            visit = (core.my_token_seq + int(options.get("visit", "1"))) & 0xFFFFFFFF
            seq = _number(options.get("seq", "+0"), core.last_seq)
            return encode_orf_token(OrfToken(source, 0, seq, visit, seq, 0, ring, 0, 0, 0, ()))
        if kind == "commit":
            return self._commit_token(member, options, misquoted="misquoted" in words)
        raise ValueError(kind)

    def _commit_token(self, member: Member, options: Options, *, misquoted: bool) -> bytes:
        """The entries up to `index` are filled in, as if all were like this node's own. `misquoted`: or nearly so."""
        core = member.core
        members = _nodes(options["members"])
        seq = _number(options.get("seq", "+4"), core.ring.seq)
        ring = RingId(int(options.get("rep", str(members[0]))), seq)
        index = int(options.get("index", "0"))
        entry_ring = core.old_ring if core.saved else core.ring
        entries = []
        for position, node in enumerate(members):
            known = position < index
            aru = core.old_aru + (misquoted and node == core.me)
            entries.append(_entry(aru, core.high_delivered, entry_ring) if known else _EMPTY)
        return encode_commit_token(CommitToken(int(options["from"]), 0, ring, index, members, tuple(entries)))


def _entry(aru: int, high_delivered: int, ring: RingId) -> CommitEntry:
    return CommitEntry(ring, aru, high_delivered, 1)


def _quorum_text(member: Member) -> str:
    node = member.whole_node
    if node is None or node.votequorum is None:
        return "-"
    electorate = node.votequorum.electorate
    verdict = "quorate" if node.quorum.get_quorate() else "not quorate"
    flags = " ".join(node.votequorum.flags())
    return f"{verdict} needs={electorate.quorum} {flags}".rstrip()


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(ms|s)", text)
    if match is None:
        raise ValueError(f"{text}: a time is for example 100ms or 2s")
    return float(match[1]) / (1000 if match[2] == "ms" else 1)


def _number(text: str, base: int) -> int:
    return base + int(text) if text[0] in "+-" else int(text)


def _nodes(text: str) -> tuple[NodeId, ...]:
    return () if text == "-" else tuple(map(int, text.split(",")))


def _ring(text: str, own: RingId) -> RingId:
    if text == "same":
        return own
    rep, _, seq = text.partition("/")
    return RingId(int(rep), _number(seq, own.seq))
