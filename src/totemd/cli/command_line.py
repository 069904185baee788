"""The words that all of totemctl's parsers are made of: commands, options, numbers, exit statuses.

`Commands` adds commands whose function is named `module:function` and imported when it runs, because monitoring calls
`totemctl status` often.
"""

import argparse
import errno
import os
import sys
from collections.abc import Callable
from typing import Final, NoReturn

from totemd.errors import printable

EXIT_OK: Final = 0
EXIT_ERROR: Final = 1
EXIT_NOT_QUORATE: Final = 2
EXIT_USAGE: Final = 64
"""EX_USAGE of sysexits.h: argparse's own 2 would read as "not quorate"."""
EXIT_INTERRUPTED: Final = 130
EXIT_PIPE_CLOSED: Final = 141

DEFAULT_FILE: Final = "/etc/corosync/corosync.conf"
"""Where a node's configuration is unless --config names another place."""

EXIT_HELP: Final = "Exit status: 0 done, 1 error (no daemon, refused ...), 64 wrong usage, 130 ended with Ctrl-C."


class Parser(argparse.ArgumentParser):
    """argparse with exit status 64 for wrong usage, and a pointer to the help."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(EXIT_USAGE)


def trouble(error: OSError) -> str:
    """What the machine refused, in one line, with the way out where the rights do not suffice."""
    text = error.strerror or str(error)
    if error.filename is not None:
        text = f"{printable(str(error.filename))}: {text}"
    return f"{text}; run it as root" if error.errno in (errno.EACCES, errno.EPERM) else text


def replace_closed_streams() -> None:
    """Have standard streams that our parent has closed (`>&-`) be empty ones: Python leaves None in their place."""
    # In the order of their numbers, so that each gets its own.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - open for life


def settle_output() -> None:
    """Have what standard output still holds written or, if nobody takes it, go nowhere: Python would complain when it
    flushes at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def number(least: int, what: str, most: int = 0xFFFFFFFF) -> Callable[[str], int]:
    """A converter for a decimal number from `least` to `most`."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = -1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no {what}: a number from {least} to {most} is")
        return value

    return convert


def time_up_to(most_s: int, least_s: int = 0) -> Callable[[str], float]:
    """A converter for a time in seconds."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least_s <= value <= most_s:
            raise argparse.ArgumentTypeError(f"{text!r} is no time: a number of seconds from {least_s} to {most_s} is")
        return value

    return convert


seconds: Final = time_up_to(86400)
"""A converter for a time of up to a day."""


class Commands:
    """Adds commands whose function is `module:name`, imported when it runs."""

    def __init__(self, parser: argparse.ArgumentParser, common: argparse.ArgumentParser, title: str) -> None:
        self._common = common
        self._commands = parser.add_subparsers(title=title, metavar="COMMAND", required=True)

    def add(
        self, name: str, target: str | None, brief: str, text: str = "", epilog: str = ""
    ) -> argparse.ArgumentParser:
        says_exit = target == "commands_ring:status" or "Exit status:" in epilog
        parser: argparse.ArgumentParser = self._commands.add_parser(
            name,
            help=brief,
            description=text or f"{brief[0].upper()}{brief[1:]}.",
            epilog=epilog.strip() if says_exit else f"{epilog.strip()}\n\n{EXIT_HELP}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[self._common],
        )
        if target is not None:
            parser.set_defaults(target=target)
        return parser


def common_options(*, default: bool) -> argparse.ArgumentParser:
    """--socket and --json, understood before and after the command; the second time without a default."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--socket",
        metavar="PATH",
        default=None if default else argparse.SUPPRESS,
        help="the daemon's socket (default: $TOTEMD_SOCKET or /run/totemd/totemd.sock)",
    )
    common.add_argument(
        "--json",
        action="store_true",
        default=False if default else argparse.SUPPRESS,
        help="print JSON for programs; commands that follow events print one object per line",
    )
    return common


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """--config, for commands that only read it."""
    parser.add_argument(
        "--config", metavar="FILE", default=DEFAULT_FILE, help=f"the node's corosync.conf (default: {DEFAULT_FILE})"
    )


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """--config and --state-dir, as `totemd` has them, for commands that read or write the node's own files."""
    add_config_option(parser)
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        help="what survives restarts (default: system.state_dir of the configuration, else /var/lib/totemd)",
    )
