"""`totemctl cluster separate`: this node forgets its cluster, on its own disk alone; nothing is deleted."""

import shutil
import socket
import time
from argparse import Namespace
from pathlib import Path

from totemd.cli.commands_ring import CommandError, say
from totemd.client.protocol import socket_path
from totemd.config.parser import FILE_SIZE_MAX, Section, parse, value_of
from totemd.errors import ConfigError

_DEFAULT_KEYFILE = "/etc/corosync/authkey"
_DEFAULT_STATE_DIR = "/var/lib/totemd"


def separate(arguments: Namespace) -> int:
    """`totemctl cluster separate --i-know`."""
    configuration = Path(arguments.config)
    document = _read(configuration)
    state_dir = Path(arguments.state_dir or value_of(document, "system", "state_dir") or _DEFAULT_STATE_DIR)
    keyfile = Path(value_of(document, "totem", "keyfile") or _DEFAULT_KEYFILE)
    found = [path for path in (configuration, keyfile) if path.is_file()]
    state = sorted(state_dir.iterdir()) if state_dir.is_dir() else []
    kept = [path for path in state if not path.name.startswith("separated-")]
    name = value_of(document, "totem", "cluster_name") or "its cluster"
    if not found and not kept:
        raise CommandError(f"there is nothing to put aside: no {configuration}, nothing in {state_dir}")
    _check_stopped(arguments.socket)
    aside = state_dir / time.strftime("separated-%Y%m%d-%H%M%S")
    if not arguments.i_know:
        listed = "\n".join(f"  {path}" for path in (*found, *kept))
        text = f"To leave {name} these would be put into {aside}:\n{listed}\n{_elsewhere()}\n"
        text += "Nothing was changed. If that is what you want: totemctl cluster separate --i-know"
        say(arguments, text, done=False, aside=str(aside), files=[str(path) for path in (*found, *kept)])
        return 0
    moved = _put_aside(aside, found, kept)
    text = f"This node is no member of {name} any more; what made it one is in {aside}.\n{_elsewhere()}"
    say(arguments, text, done=True, aside=str(aside), files=[str(path) for path in moved])
    return 0


def _elsewhere() -> str:
    return f"""\
The others still expect its vote. On one of them run `totemctl cluster remove {socket.gethostname()}` (or the name or id
that they know it by); it changes the key as well, so that the old one is worth nothing. If they have no quorum without
this node: `totemctl cluster expected N --yes` before. Do not start this node with the old files again, and separate
storage that both use."""


def _read(path: Path) -> Section:
    try:
        with path.open("rb") as opened:
            return parse(opened.read(FILE_SIZE_MAX).decode("utf-8", "replace"), str(path))
    except (OSError, ConfigError):
        # Whatever is wrong with it: it is only put aside.
        return Section("", 0, [], [])


def _check_stopped(where: str | None) -> None:
    """CommandError if a daemon serves the socket: it would write its state again."""
    path = socket_path(where)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return
    raise CommandError(f"the daemon runs ({path}): stop it first, for example with systemctl stop totemd")


def _put_aside(aside: Path, files: list[Path], state: list[Path]) -> list[Path]:
    try:
        aside.mkdir(parents=True, mode=0o700)
        # The configuration last: as long as it is there, the command can be run again.
        for path in (*state, *reversed(files)):
            shutil.move(path, aside / path.name)
    except OSError as error:
        raise CommandError(
            f"cannot put everything into {aside}: {error.strerror or error}; what is there already is out of the "
            "way, run the command again for the rest"
        ) from error
    return [aside / path.name for path in (*state, *files)]
