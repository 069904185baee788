"""What a sealed ring needs of the machine: the key file, and random bytes. Imported for sealed rings alone."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from totemd.config.model import SealSettings
from totemd.errors import ConfigError, MachineError, OperatorError
from totemd.ids import NodeId
from totemd.node.sealing import SealMaker
from totemd.seal.datagram import SESSION_SIZE
from totemd.seal.keys import FILE_SIZE_MAX, KeyRing
from totemd.seal.messages import Credentials
from totemd.seal.seal import Seal
from totemd.seal.suite import Suite
from totemd.seal.verdict import Verdict


def read_keys(path: Path) -> tuple[KeyRing, str | None]:
    """The keys in a file, and what is doubtful about it. MachineError or ConfigError name the file and what to do."""
    make = "'totemctl cluster keygen FILE' makes one, which all nodes must have"
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(FILE_SIZE_MAX + 1)
    except FileNotFoundError:
        raise MachineError(f"the ring is sealed, but there is no key file {path}; {make}") from None
    except OSError as error:
        raise MachineError(f"cannot read the key file {path}: {error.strerror}; {make}") from error
    try:
        keys = KeyRing.parse(data)
    except OperatorError as error:
        raise ConfigError(str(error), file=str(path)) from None
    if mode & 0o077:
        return keys, f"{path}: others than its owner have access to the key (mode {mode:04o}); do: chmod 600 {path}"
    return keys, None


def seal_maker(settings: SealSettings, keys: KeyRing) -> SealMaker:
    """What makes the node's seal. The session is new, so that no counter is ever used twice under one key."""
    session = os.urandom(SESSION_SIZE)
    # The library takes its time to load: now, and not when the daemon can be seen already, and yet hears no signals.
    Suite(settings.suite, bytes(16))

    def make(
        *,
        cluster_id: bytes,
        nodeid: NodeId,
        credentials: Callable[[], Credentials],
        judge: Callable[[Credentials], Verdict],
        log: Callable[[str, str], None],
    ) -> Seal:
        return Seal(
            keys=keys,
            suite=settings.suite,
            cluster_id=cluster_id,
            nodeid=nodeid,
            session=session,
            credentials=credentials,
            judge=judge,
            random_bytes=os.urandom,
            log=log,
        )

    return make
