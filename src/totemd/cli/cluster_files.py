"""The files that make a machine a node, for the commands that write them: `create` and `join`."""

import os
import shutil
import socket
import time
from argparse import Namespace
from hashlib import sha256
from pathlib import Path
from typing import Final

from totemd.cli.commands_ring import CommandError
from totemd.cluster.identity import IDENTITY_FILE, Identity
from totemd.config.model import Configuration
from totemd.config.sealing import DEFAULT_KEYFILE
from totemd.errors import MachineError
from totemd.seal.keys import KeyRing, new_key
from totemd.shell.configuration_files import CHANGES_DIRECTORY, COMMITTED, WRITTEN
from totemd.shell.node_files import JOINING_FILE, PUBLIC, SECRET, remove, store_identity, write_file
from totemd.shell.state import read_file

UNIT: Final = "totemd.service"
LOG_DIRECTORY: Final = Path("/var/log")
"""Where a cluster that is joined may have this machine log to."""

_MARK_SIZE_MAX: Final = 64 * 1024


def default_node_name() -> str:
    """The host's name without its domain."""
    return socket.gethostname().partition(".")[0]


class NodeFiles:
    """Where this node's files are."""

    def __init__(self, config: Path, state_dir: Path, keyfile: str | None) -> None:
        """`keyfile` None: where the configuration says."""
        self.config = config
        self.state_dir = state_dir
        self.keyfile_setting = keyfile
        self.key = Path(keyfile or DEFAULT_KEYFILE)
        self.identity = state_dir / IDENTITY_FILE
        self.joining = state_dir / JOINING_FILE

    @staticmethod
    def of(arguments: Namespace) -> "NodeFiles":
        """Those that the options --config, --state-dir and --keyfile name."""
        from totemd.cli.daemon import DEFAULT_STATE_DIR

        return NodeFiles(
            Path(arguments.config).absolute(),
            Path(arguments.state_dir or DEFAULT_STATE_DIR).absolute(),
            None if arguments.keyfile is None else str(Path(arguments.keyfile).absolute()),
        )

    def leftovers(self) -> list[str]:
        """What is there of an earlier cluster, as sentences."""
        found = [f"there is {what}: {file}" for what, file in self._pieces() if file.exists()]
        found += [f"there are replicated changes: {path}" for path in self._histories()]
        return found

    def check_unused(self, command: str) -> None:
        """CommandError, with all that speaks against it at once, if this machine is a node already."""
        found = self.leftovers()
        if found:
            raise CommandError(
                f"this machine is a node already, so {command} would destroy something: {'; '.join(found)}. To take it "
                "out of its cluster: totemctl cluster leave; to put the files aside: totemctl cluster separate"
            )

    def put_aside(self) -> str:
        """Move what is there of an earlier cluster into a directory of its own, whose name is given. MachineError."""
        aside = self.state_dir / time.strftime("separated-%Y%m%d-%H%M%S")
        try:
            state = sorted(self.state_dir.iterdir()) if self.state_dir.is_dir() else []
            aside.mkdir(parents=True, mode=0o700)
            # The configuration last: with it this machine is a node.
            for path in (*state, self.key, self.config):
                if path.exists() and not path.name.startswith("separated-"):
                    shutil.move(path, aside / path.name)
        except OSError as error:
            raise MachineError(f"cannot put the old files into {aside}: {error.strerror or error}") from error
        return str(aside)

    def check_text(self, text: str, node: str) -> Configuration:
        """The configuration as the daemon will read it. ConfigError."""
        from totemd.cli.daemon import resolve
        from totemd.config import load
        from totemd.shell.addresses import machine_addresses

        return load(
            text,
            file=str(self.config),
            resolve=resolve,
            local_addresses=machine_addresses(),
            hostname=socket.gethostname(),
            local_override=node,
        )

    def write_new_cluster(self, text: str, identity: Identity) -> None:
        """Write all files of a new cluster, the configuration last: with it the node is one. MachineError."""
        store_identity(self.state_dir, identity)
        write_file(self.key, KeyRing(new_key(os.urandom)).to_bytes(), SECRET)
        write_file(self.config, text.encode(), PUBLIC)

    def check_paths(self, configuration: Configuration, *, state_dir_given: bool) -> None:
        """CommandError if a configuration that a cluster gave has this machine write where nobody here said that it
        may: what a ticket leads to is not yet trusted with root's rights."""
        found = []
        if configuration.seal is not None and self.keyfile_setting is None:
            keyfile = configuration.seal.keyfile
            if keyfile != DEFAULT_KEYFILE:
                found.append(f"its key in {keyfile}: if that is right, say --keyfile {keyfile}")
        state_dir = configuration.system.state_dir
        if state_dir is not None and Path(state_dir) != self.state_dir and not state_dir_given:
            found.append(f"its state in {state_dir}: if that is right, say --state-dir {state_dir}")
        logfile = configuration.logging.logfile if configuration.logging.to_logfile else None
        if logfile is not None and not _is_below(Path(logfile), LOG_DIRECTORY):
            found.append(
                f"its log in {logfile}: only files under {LOG_DIRECTORY} can be given by a cluster that is joined"
            )
        if found:
            raise CommandError(
                "nothing is written, for the cluster's configuration would have this machine keep "
                + "; and ".join(found)
            )

    def write_joined(self, record: bytes, text: str, keys: bytes) -> None:
        """Write what the cluster has given, the configuration last. MachineError."""
        if keys:
            write_file(self.key, keys, SECRET)
        for path in self._histories():
            # Of an earlier try.
            remove(path)
        write_file(self.state_dir / CHANGES_DIRECTORY / COMMITTED, record, SECRET)
        write_file(self.state_dir / WRITTEN, sha256(text.encode()).digest(), SECRET)
        write_file(self.config, text.encode(), PUBLIC)

    def has_begun(self, cluster: str) -> bool:
        """Whether a join of that cluster, into these files, is under way. MachineError."""
        mark = read_file(self.joining, _MARK_SIZE_MAX) or b""
        mine = self._mark(cluster)
        # With a key file that no try has looked at it goes on if there is nothing to lose.
        return mark == mine or (not self.key.exists() and mark.split(b"\n")[:2] == mine.split(b"\n")[:2])

    def begin_joining(self, identity: Identity, cluster: str) -> None:
        """Mark that a join is under way, and store who joins: a later try is the same node. MachineError."""
        write_file(self.joining, self._mark(cluster), SECRET)
        store_identity(self.state_dir, identity)

    def end_joining(self) -> None:
        """This node is a member: its files are no longer to be written anew. MachineError."""
        remove(self.joining)

    def forget_joining(self) -> None:
        """Nothing came of the join, and nothing of the cluster was written. MachineError."""
        remove(self.identity)
        remove(self.joining)

    def start_hint(self) -> str:
        """What to type to start the daemon."""
        from totemd.cli.daemon import DEFAULT_FILE, DEFAULT_STATE_DIR

        if has_unit():
            return f"systemctl enable --now {UNIT}"
        words = ["totemd"]
        if str(self.config) != DEFAULT_FILE:
            words += ["-c", str(self.config)]
        if str(self.state_dir) != DEFAULT_STATE_DIR:
            words += ["--state-dir", str(self.state_dir)]
        if self.keyfile_setting is not None:
            words += ["--keyfile", self.keyfile_setting]
        return " ".join(words)

    def _mark(self, cluster: str) -> bytes:
        # Files that no try of the same join has looked at are not written anew.
        return f"{cluster}\n{self.config}\n{self.key}\n".encode()

    def _pieces(self) -> list[tuple[str, Path]]:
        return [("a configuration", self.config), ("a key", self.key), ("an identity", self.identity)]

    def _histories(self) -> list[Path]:
        """What the service of replicated configuration keeps."""
        return [path for path in (self.state_dir / CHANGES_DIRECTORY,) if path.exists()]


def _is_below(path: Path, directory: Path) -> bool:
    return path.is_absolute() and ".." not in path.parts and directory in path.parents


def has_unit() -> bool:
    """Whether systemd runs this machine and knows totemd's unit."""
    if not Path("/run/systemd/system").is_dir():
        return False
    places = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
    return any((Path(place) / UNIT).exists() for place in (*places, "/lib/systemd/system"))
