"""The configuration's files on a simulated host, and the clients that change it: what `shell` does for a managed node.

Texts are read beside everything else; the disk writes in order, one file at a time, and may take its time. Of what it
was writing at a crash the first file is there afterwards, or not; of what was waiting, nothing.
"""

from collections import deque
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from totemd.cluster.change import IDENT_SIZE, Change
from totemd.cluster.nodelist_text import remove_node, set_votes
from totemd.cluster.text import digest
from totemd.config.model import Configuration
from totemd.errors import ConfigError, OperatorError
from totemd.ids import NodeId
from totemd.node.effects import CheckConfiguration, StoreChange, WriteConfiguration
from totemd.services.changes.api import Outcome
from totemd.services.changes.ledger import COMMITTED_FILE
from totemd.services.changes.listed import lists_node
from totemd.sim.history import ChangeAnswered, VersionInForce
from totemd.sim.host import Host

if TYPE_CHECKING:
    from totemd.sim.life import Life

CHECK_S: Final = 0.002
FIRST_VERSION: Final = 1

ConfigurationEffect = CheckConfiguration | StoreChange | WriteConfiguration
CONFIGURATION_EFFECTS: Final = (CheckConfiguration, StoreChange, WriteConfiguration)


def stored_on(host: Host, first_text: str) -> dict[str, bytes]:
    """The host's files; those of a first life have what the cluster was made with."""
    if COMMITTED_FILE not in host.changes:
        first = Change(digest(first_text), "create", FIRST_VERSION, FIRST_VERSION, first_text)
        host.changes[COMMITTED_FILE] = first.encode()
    return dict(host.changes)


class Replicated:
    """One life's part."""

    def __init__(self, life: "Life") -> None:
        self._life = life
        self._disk: deque[StoreChange] = deque()
        self._asked = 0
        self._shown = b""

    # Effects

    def notice(self) -> None:
        """What is in force, for the history, if it is something else than before."""
        changes = self._life.node.changes
        assert changes is not None
        active, current = changes.active(), changes.current()
        if active.ident != self._shown:
            self._shown = active.ident
            life = self._life
            committed = (current.version, current.ident, current.base_version)
            life.note(
                VersionInForce(life.world.now, life.nodeid, life.number, active.version, active.ident, *committed)
            )

    def perform(self, effect: ConfigurationEffect) -> None:
        """As the daemon's shell does it."""
        world, host = self._life.world, self._life.host
        if isinstance(effect, CheckConfiguration):
            world.at(world.now + CHECK_S * (1 + host.random.random()), self._checked, effect)
        elif isinstance(effect, StoreChange):
            self._disk.append(effect)
            if len(self._disk) == 1:
                world.at(world.now + host.disk_answers_after(), self._stored, effect)

    def _checked(self, effect: CheckConfiguration) -> None:
        life, world = self._life, self._life.world
        if life.host.busy_until > world.now:
            world.at(life.host.free_at(world.now), self._checked, effect)
            return
        meaning: Configuration | str
        if world.now < life.host.dislikes_until:
            meaning = "this host does not like it now"
        else:
            try:
                meaning = world.load(effect.text, life.nodeid)
            except ConfigError as error:
                meaning = str(error)
        life.call(lambda: life.node.configuration_checked(effect.ident, meaning, life.host.clock(world.now)))

    def _stored(self, effect: StoreChange) -> None:
        life, world = self._life, self._life.world
        if not life.alive:
            return
        if life.host.busy_until > world.now:
            world.at(life.host.free_at(world.now), self._stored, effect)
            return
        self._disk.popleft()
        life.host.changes[effect.name] = effect.data
        if self._disk:
            world.at(world.now + life.host.disk_answers_after(), self._stored, self._disk[0])
        life.call(lambda: life.node.change_stored(effect.ident, None, life.host.clock(world.now)))

    def crashed(self, *, survives: bool) -> None:
        """Nothing is written any more."""
        if survives and self._disk:
            self._life.host.changes[self._disk[0].name] = self._disk[0].data
        self._disk.clear()

    # Clients

    def edit(self, token_ms: int, rollback_after_s: int) -> None:
        """Another token timeout for all."""
        changes = self._life.node.changes
        assert changes is not None
        lines = [line for line in changes.current().text.split("\n") if not line.startswith(" token: ")]
        at = next(number for number, line in enumerate(lines) if line.startswith(" cluster_name"))
        lines.insert(at, f" token: {token_ms}")
        self._propose("\n".join(lines), rollback_after_s)

    def revote(self, nodeid: NodeId, votes: int) -> None:
        """Another number of votes for a node."""
        changes = self._life.node.changes
        assert changes is not None
        try:
            self._propose(set_votes(changes.current().text, nodeid, votes), 2)
        except OperatorError:
            return

    def unlist(self, nodeid: NodeId) -> None:
        """Take a node out of the cluster, whether it runs or not."""
        changes = self._life.node.changes
        assert changes is not None
        base = changes.current()
        try:
            self._propose(remove_node(base.text, nodeid, base.version + 1), 2)
        except OperatorError:
            return

    def _propose(self, text: str, rollback_after_s: int) -> None:
        life = self._life
        changes = life.node.changes
        assert changes is not None
        self._asked += 1
        ident = sha256(f"change {life.number} {self._asked}".encode()).digest()[:IDENT_SIZE]
        base = changes.current().version
        change = Change(ident, "edit", base, 0, text, rollback_after_s=rollback_after_s)
        life.call(lambda: changes.propose(change, lambda outcome: self._answered(ident, outcome)))

    def _answered(self, ident: bytes, outcome: Outcome) -> None:
        life = self._life
        time = life.world.now
        word = "accepted" if outcome.accepted else "undecided" if outcome.undecided else "refused"
        life.note(ChangeAnswered(time, life.nodeid, life.number, ident, outcome.version, word))


def taken_out(lives: list["Life"]) -> list["Life"]:
    """Those that the latest version of all does not list, and that have not heard of it."""
    committed = [life.node.changes.current() for life in lives if life.node.changes is not None]
    if not committed:
        return []
    latest = max(committed, key=lambda change: change.version)
    return [life for life in lives if not lists_node(latest.text, life.nodeid)]


def has_settled(life: "Life", others: list["Life"]) -> bool:
    """Whether nothing is left to decide, and all have the same version."""
    changes = life.node.changes
    if changes is None:
        return True
    if any(other.node.changes is None or other.node.changes.current() != changes.current() for other in others):
        return False
    quorate = life.node.votequorum is not None and life.node.votequorum.electorate.quorate
    return changes.settled or not quorate
