"""What a managed node has besides: its replicated configuration, and its part in the cluster's membership.

Made before the daemon, which opens it with its other files, attaches it to the node and runs it. Imported for managed
clusters alone.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import trio

from totemd.cluster.boxes import open_box
from totemd.cluster.change import Change, box_context
from totemd.cluster.identity import Identity
from totemd.cluster.standing import joining_votes
from totemd.config.model import Configuration
from totemd.errors import BadPacket, MachineError, OperatorError
from totemd.node import Node
from totemd.node.catching_up import CatchingUp
from totemd.services.changes.ledger import HISTORY_FILE, STATE_FILE, decode_entries, encode_entries, load
from totemd.shell.cluster import ClusterFront
from totemd.shell.configuration_files import CHANGES_DIRECTORY, ConfigurationFiles
from totemd.shell.configuration_front import ConfigurationFront
from totemd.shell.configuration_keeper import ConfigurationEffect, ConfigurationKeeper, ParseText
from totemd.shell.logs import Logger
from totemd.shell.node_files import JOINING_FILE, load_identity, remove
from totemd.shell.proposing import Proposer

DAMAGED_SUFFIX: Final = ".damaged~"
"""Behind the name of a record that cannot be read and is kept for people; no record has such a name."""


class Managed:
    """One per managed node. `parse` reads a text as this node's configuration."""

    def __init__(self, *, file: Path, state_dir: Path, committed: Change | None, parse: ParseText) -> None:
        """MachineError or OperatorError if the identity cannot be read."""
        self.identity = load_identity(state_dir)
        self._file = file
        self._state_dir = state_dir
        self._committed = committed
        self._parse = parse
        self._keeper: ConfigurationKeeper | None = None
        self._doubts: list[str] = []
        self._early: list[ConfigurationEffect] = []
        """Effects of a node that is being made."""

    def open(self, configuration: Configuration) -> Mapping[str, bytes]:
        """The records; what a crash left undone is finished first. MachineError, OperatorError."""
        check_identity(configuration, self.identity)
        keyfile = None if configuration.seal is None else Path(configuration.seal.keyfile)
        self._files = ConfigurationFiles(
            file=self._file, state_dir=self._state_dir, keyfile=keyfile, committed=self._committed
        )
        self._configuration = configuration
        return self._usable(self._files.open(configuration))

    def _usable(self, records: dict[str, bytes]) -> Mapping[str, bytes]:
        """The records without a history that cannot be read, for that is for people; OperatorError if what decides
        about the configuration is damaged."""
        directory = self._state_dir / CHANGES_DIRECTORY
        try:
            load(records)
        except BadPacket as error:
            raise OperatorError(
                f"{directory / STATE_FILE} is damaged ({error}); move {directory} away and start again: the node then "
                "begins with its corosync.conf, and fetches what is newer from the others"
            ) from None
        try:
            decode_entries(records.get(HISTORY_FILE, encode_entries([])))
        except BadPacket as error:
            del records[HISTORY_FILE]
            file = directory / HISTORY_FILE
            kept = file.with_name(f"{file.name}{DAMAGED_SUFFIX}")
            try:
                file.rename(kept)
            except OSError as failure:
                raise MachineError(f"cannot rename {file}, which is damaged: {failure.strerror}") from failure
            self._doubts.append(f"{file} is damaged ({error}), so the history begins anew; the file is kept as {kept}")
        return records

    def open_box(self, change: Change) -> bytes | None:
        """The key ring that comes with a change for this node. BadPacket: it cannot be had."""
        configuration = self._configuration
        box = change.boxes.get(configuration.local.nodeid)
        if box is None:
            return None
        sender = configuration.node(change.proposer)
        if self.identity is None or sender is None or sender.public_key is None or configuration.cluster_id is None:
            raise BadPacket("bad box", f"node {change.proposer} or this one has no key")
        return open_box(self.identity, sender.public_key, box, box_context(configuration.cluster_id, change))

    def attach(self, node: Node, logger: Logger, changed: Callable[[], None], pump: Callable[[], None]) -> None:
        """Take a place around the node. `changed` is called when another configuration is in force."""
        assert node.changes is not None
        for doubt in self._doubts:
            logger.log("warning", "CONFIG", doubt)

        def take() -> None:
            self._configuration = node.configuration
            self._end_joining(logger)
            changed()
            self._cluster.notice()

        self._keeper = keeper = ConfigurationKeeper(node, self._files, self._parse, logger, changed=take, pump=pump)
        proposer = Proposer(node, node.changes, pump, self.identity)
        self._front = ConfigurationFront(node, node.changes, proposer, lambda: keeper.state, self._parse, pump)
        self._cluster = ClusterFront(node, node.changes, self._state_dir, proposer, pump, os.urandom)
        node.front.replicated = self._front
        node.front.cluster = self._cluster
        if node.sealing is not None:
            CatchingUp(node, self.identity, os.urandom)
        for effect in self._early:
            keeper.perform(effect)
        self._early.clear()
        self._end_joining(logger)

    def _end_joining(self, logger: Logger) -> None:
        """A node that is counted joins no more: its files are not to be written anew."""
        if joining_votes(self._configuration, self._configuration.local) is not None:
            return
        try:
            remove(self._state_dir / JOINING_FILE)
        except MachineError as error:
            logger.log("warning", "JOIN", str(error))

    def perform(self, effect: ConfigurationEffect) -> None:
        """Perform an effect of the node's."""
        if self._keeper is None:
            self._early.append(effect)
        else:
            self._keeper.perform(effect)

    @property
    def busy(self) -> bool:
        """Whether the disk has something of ours still to do."""
        return self._keeper is not None and self._keeper.busy

    @property
    def needs_new_start(self) -> bool:
        """Whether the committed version is not the one in force: it takes a new start to have it."""
        committed = self._files.committed
        return committed is not None and committed.version != self._configuration.config_version

    async def run(self) -> None:
        """Serve until cancelled."""
        assert self._keeper is not None, "attached"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keeper.run)
            await self._front.run(nursery)
            await self._cluster.run(nursery)

    def text_in_force(self) -> str:
        """What is read when the configuration is to be read again. OperatorError if the file was edited by hand."""
        found = self._files.look()
        if found.edited:
            raise OperatorError(
                f"{found.path} {found.problem}, so nothing is reloaded: to make it a version of the cluster's "
                "configuration, totemctl cluster config apply"
            )
        assert self._files.committed is not None, "opened"
        return self._files.committed.text


def check_identity(configuration: Configuration, identity: Identity | None) -> None:
    """OperatorError unless this machine is who the nodelist says."""
    local = configuration.local
    if local.uuid is None:
        return
    name = f"node {local.nodeid}" + (f" ({local.name})" if local.name else "")
    if identity is None:
        raise OperatorError(
            f"this machine has no identity, and {name} of the configuration has one: restore the state directory, or "
            "remove the node from the cluster and let this machine join"
        )
    if identity.uuid.hex() != local.uuid:
        raise OperatorError(
            f"this machine is not {name} of the configuration: their identities differ. If the disk is a copy of "
            "another node's, let this machine join as a new node"
        )
