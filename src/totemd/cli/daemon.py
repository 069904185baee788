"""`totemd`: read and check the configuration, then serve as one node of the ring until told to stop."""

import argparse
import grp
import os
import pwd
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from totemd import __version__
from totemd.cli.command_line import replace_closed_streams, settle_output, trouble
from totemd.cli.deferred import defer
from totemd.config import Configuration, load
from totemd.errors import ConfigError, MachineError, OperatorError

if TYPE_CHECKING:
    from totemd.cluster.change import Change
    from totemd.shell.managed import Managed

DEFAULT_FILE: Final = "/etc/corosync/corosync.conf"
DEFAULT_STATE_DIR: Final = "/var/lib/totemd"
DEFAULT_RUN_DIR: Final = "/run/totemd"
FILE_SIZE_MAX: Final = 1024 * 1024

EXIT_OK: Final = 0
EXIT_ERROR: Final = 1
EXIT_USAGE: Final = 64
EXIT_INTERRUPTED: Final = 130

NEW_START: Final = -1
"""Instead of an exit status: there is a version of the configuration that a running daemon cannot take over."""

_EPILOG: Final = """\
examples:
  totemd -t                          check /etc/corosync/corosync.conf and say what is wrong with it
  totemd                             serve (always in the foreground; systemd or a shell's & puts it behind)
  totemd -c cluster.conf --node n2 --state-dir d2/state --run-dir d2/run
                                     one of several nodes on one machine, without root

signals:   SIGTERM, SIGINT  leave the ring cleanly, then end
           SIGHUP           read the configuration file again (this node only; totemctl reload: all nodes)
files:     RUN_DIR/totemd.sock   the socket of totemctl and of client programs
           STATE_DIR/ringid_ID   the ring number, which must survive restarts
exit status: 0 ended as asked, 1 error (configuration, machine, or lost the right to run), 64 wrong usage
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"totemd: {message} (see totemd --help)", file=sys.stderr)
        sys.exit(EXIT_USAGE)


def main(arguments: list[str] | None = None) -> int:
    """The command. Gives the exit status; a user's mistake costs one line, not a traceback."""
    replace_closed_streams()
    try:
        status = _run(_parser().parse_args(arguments))
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        # Before the daemon handles signals itself; then it leaves the ring cleanly.
        return EXIT_INTERRUPTED
    except OSError as error:
        print(f"totemd: {trouble(error)}", file=sys.stderr)
        settle_output()
        return EXIT_ERROR


def _run(options: argparse.Namespace) -> int:
    try:
        if options.test:
            return _test(options)
        served = -1
        while True:
            configuration, committed = _in_force(options)
            status = _serve(configuration, committed, options)
            if status != NEW_START or configuration.config_version <= served:
                return EXIT_ERROR if status == NEW_START else status
            served = configuration.config_version
    except (OperatorError, MachineError) as error:
        print(f"totemd: {error}", file=sys.stderr)
        return EXIT_ERROR


def _test(options: argparse.Namespace) -> int:
    configuration = read_configuration(options.config, options.node, keyfile=options.keyfile)
    for doubt in (
        *map(str, configuration.warnings),
        *_check_key(configuration),
        *_check_version(configuration, options),
    ):
        print(f"totemd: warning: {doubt}", file=sys.stderr)
    local = configuration.local
    print(
        f"{configuration.file} is valid: {len(configuration.nodes)} nodes, this is node {local.nodeid} "
        f"({local.name or local.address}), transport {configuration.transport.kind.value}, "
        f"{'open' if configuration.seal is None else f'sealed by {configuration.seal.suite}'}"
    )
    return EXIT_OK


def _in_force(options: argparse.Namespace) -> "tuple[Configuration, Change | None]":
    """What to serve with: the file's configuration or, in a managed cluster, that of the committed version, whatever
    the file says. ConfigError, MachineError."""
    configuration: Configuration | None = None
    problem: OperatorError | MachineError | None = None
    try:
        configuration = read_configuration(options.config, options.node, keyfile=options.keyfile)
    except (OperatorError, MachineError) as error:
        problem = error
    committed = _committed(_state_dir(options, configuration))
    if committed is None:
        if configuration is None:
            assert problem is not None
            raise problem
        return configuration, None
    try:
        in_force = read_configuration(options.config, options.node, keyfile=options.keyfile, text=committed.text)
    except ConfigError as error:
        where = _state_dir(options, configuration) / "changes"
        raise ConfigError(
            f"{error.text}. (This is version {committed.version} of the cluster's configuration, which {where} has, "
            "not what the file says. If it cannot work on any node any more: stop all daemons and, on every node, "
            f"write the file, raise config_version in it, and move {where} away)",
            file=error.file,
            line=error.line,
            key=error.key,
        ) from None
    cluster_id = None if configuration is None else configuration.cluster_id
    if cluster_id not in (None, in_force.cluster_id):
        raise ConfigError(
            f"this is the configuration of another cluster than the one that {_state_dir(options, configuration)} "
            f"belongs to, {in_force.cluster_name}; put that away (totemctl cluster separate), or restore the file",
            file=options.config,
        )
    return in_force, committed


def _state_dir(options: argparse.Namespace, configuration: Configuration | None) -> Path:
    if options.state_dir is not None:
        return Path(options.state_dir)
    written = None if configuration is None else configuration.system.state_dir
    return Path(written or DEFAULT_STATE_DIR)


def _committed(state_dir: Path) -> "Change | None":
    """The version in force of a managed cluster's configuration, as this machine knows it."""
    # Looked for by hand: most of what reads it is of no use elsewhere, and would be imported for nothing.
    if not (state_dir / "changes" / "committed").exists():
        return None
    from totemd.shell.configuration_files import committed_change

    return committed_change(state_dir)


def _check_version(configuration: Configuration, options: argparse.Namespace) -> list[str]:
    """Whether the file says what is in force."""
    committed = _committed(_state_dir(options, configuration))
    if committed is None:
        return []
    from totemd.cluster.text import digest

    if digest(_read_text(Path(options.config))) == digest(committed.text):
        return []
    text = f"says something else than version {committed.version} of the cluster's configuration, which is in force"
    return [f"{options.config} {text}; totemctl cluster config diff shows it, config apply proposes it"]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="totemd",
        description="Form a ring with the other nodes of corosync.conf, order messages, and answer quorum.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-c", "--config", default=DEFAULT_FILE, metavar="FILE", help=f"default {DEFAULT_FILE}")
    parser.add_argument("-f", action="store_true", help="stay in the foreground; so it always does, for compatibility")
    parser.add_argument("-t", "--test", action="store_true", help="check the configuration and end")
    parser.add_argument("-v", "--version", action="version", version=f"totemd {__version__}")
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help=f"what must survive restarts; default system.state_dir of the configuration, else {DEFAULT_STATE_DIR}",
    )
    parser.add_argument("--run-dir", type=Path, default=Path(DEFAULT_RUN_DIR), metavar="DIR", help="the socket's place")
    parser.add_argument(
        "--node", metavar="NODE", help="which nodelist entry this is (name, id or address), if it cannot be told"
    )
    parser.add_argument(
        "--keyfile", metavar="FILE", help="this node's key of a sealed ring; default totem.keyfile of the configuration"
    )
    return parser


def read_configuration(
    path: str,
    node: str | None,
    more_addresses: tuple[str, ...] = (),
    keyfile: str | None = None,
    text: str | None = None,
) -> Configuration:
    """Read and check the file. ConfigError or MachineError say what is wrong and what to do.

    `more_addresses` count as this machine's: a running node stays who it is while its interface is down. `keyfile` is
    this node's own, instead of the file's. `text` is read instead of what the file has.
    """
    file = Path(path)
    try:
        text = _read_text(file) if text is None else text
    except OSError as error:
        raise MachineError(
            f"cannot read the configuration {path}: {error.strerror}; choose one with -c FILE"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"byte {error.start} is not UTF-8 text", file=path) from error
    from totemd.shell.addresses import machine_addresses

    configuration = load(
        text,
        file=path,
        resolve=resolve,
        local_addresses=[*machine_addresses(), *more_addresses],
        hostname=socket.gethostname(),
        local_override=node,
        uidgid_files=_read_uidgid_files(file.parent / "uidgid.d"),
        resolve_user=lambda name: pwd.getpwnam(name).pw_uid,
        resolve_group=lambda name: grp.getgrnam(name).gr_gid,
    )
    if keyfile is None or configuration.seal is None:
        return configuration
    return replace(configuration, seal=replace(configuration.seal, keyfile=str(Path(keyfile).absolute())))


def _check_key(configuration: Configuration) -> list[str]:
    """What is doubtful about the key file of a sealed ring. ConfigError or MachineError if it cannot be used."""
    if configuration.seal is None:
        return []
    from totemd.shell.sealing import read_keys

    _, doubt = read_keys(Path(configuration.seal.keyfile))
    return [] if doubt is None else [doubt]


def _read_text(file: Path) -> str:
    """The file, if it is not larger than any configuration. ConfigError, OSError or UnicodeDecodeError."""
    with file.open("rb") as opened:
        data = opened.read(FILE_SIZE_MAX + 1)
    if len(data) > FILE_SIZE_MAX:
        raise ConfigError(f"larger than {FILE_SIZE_MAX} bytes, which no configuration is", file=str(file))
    return data.decode("utf-8")


def resolve(name: str, ip_version: str) -> list[str]:
    """Numeric addresses of `name`, of the families and in the order that totem.ip_version asks for."""
    families = {
        "ipv4": [socket.AF_INET],
        "ipv6": [socket.AF_INET6],
        "ipv4-6": [socket.AF_INET, socket.AF_INET6],
        "ipv6-4": [socket.AF_INET6, socket.AF_INET],
    }[ip_version]
    addresses: list[str] = []
    failure: OSError | None = None
    for family in families:
        try:
            found = socket.getaddrinfo(name, None, family, socket.SOCK_DGRAM)
        except UnicodeError:
            failure = OSError(f"{name} is no host name")
            continue
        except OSError as error:
            failure = error
            continue
        addresses += [str(entry[4][0]).partition("%")[0] for entry in found]
    if not addresses:
        raise failure or OSError(f"{name} has no address")
    return list(dict.fromkeys(addresses))


def _read_uidgid_files(directory: Path) -> dict[str, str]:
    files = {}
    try:
        entries = sorted(directory.iterdir())
    except OSError:
        return {}
    for entry in entries:
        try:
            if entry.is_file():
                files[str(entry)] = _read_text(entry)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot be read: {error}", file=str(entry)) from error
    return files


def _serve(configuration: Configuration, committed: "Change | None", options: argparse.Namespace) -> int:
    defer("ssl", "hmac")
    from totemd.cli.running import run
    from totemd.shell.daemon import Daemon
    from totemd.shell.logs import Logger

    state_dir = _state_dir(options, configuration)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.umask(0o022)
    logger = Logger(configuration.logging)
    nodeid, address = configuration.local.nodeid, configuration.local.address

    def read(text: str | None = None) -> Configuration:
        return read_configuration(options.config, str(nodeid), (address,), options.keyfile, text)

    try:
        managed = None
        if configuration.cluster_id is not None:
            managed = _managed(configuration, committed, options, state_dir, read)
        daemon = Daemon(
            configuration,
            state_dir=state_dir,
            run_dir=options.run_dir,
            logger=logger,
            read_configuration=read if managed is None else lambda: read(managed.text_in_force()),
            managed=managed,
        )
        status = run(daemon.run)
        return NEW_START if status == EXIT_ERROR and managed is not None and managed.needs_new_start else status
    except (OperatorError, MachineError) as error:
        print(f"totemd: {error}", file=sys.stderr)
        return EXIT_ERROR
    finally:
        logger.close()


def _managed(
    configuration: Configuration,
    committed: "Change | None",
    options: argparse.Namespace,
    state_dir: Path,
    read: Callable[[str], Configuration],
) -> "Managed":
    from totemd.services.changes.listed import lists_node
    from totemd.shell.managed import Managed

    def parse(text: str) -> Configuration | None:
        return read(text) if lists_node(text, configuration.local.nodeid) else None

    return Managed(file=Path(options.config), state_dir=state_dir, committed=committed, parse=parse)


if __name__ == "__main__":
    sys.exit(main())
