"""All of totemd's exceptions, sorted by who has to act.

TotemdError
+-- CallerError          a local client asked for something wrong, or too early
|   +-- ServiceError     a service refuses a request; carries one of corosync's result codes
|   +-- BadFrame         the bytes on the native socket are no valid frame
|   +-- BadRing          a client of libqb has spoilt the memory that it shares with us
+-- BadPacket            the peer (or a stranger) sent bytes that are no valid packet; dropped and counted
+-- OperatorError        the operator must change something; says what, where and how
|   +-- ConfigError      a configuration file; carries file, line and key
+-- MachineError         the machine failed us: disk, socket, permission
"""

from enum import IntEnum


def printable(text: str) -> str:
    """`text` on one line that no terminal acts on: what is quoted from a file may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class TotemdError(Exception):
    """Base of everything that totemd raises on purpose."""


class CallerError(TotemdError):
    """A local client is to blame."""


class Code(IntEnum):
    """Result codes of the services, with the numbers of corosync's cs_error_t."""

    OK = 1
    LIBRARY = 2
    TIMEOUT = 5
    TRY_AGAIN = 6
    INVALID_PARAM = 7
    NO_MEMORY = 8
    BAD_HANDLE = 9
    BUSY = 10
    ACCESS = 11
    NOT_EXIST = 12
    NAME_TOO_LONG = 13
    EXIST = 14
    INTERRUPT = 16
    NAME_NOT_FOUND = 17
    NO_RESOURCES = 18
    NOT_SUPPORTED = 19
    FAILED_OPERATION = 21
    MESSAGE_ERROR = 22
    TOO_BIG = 26
    NO_SECTIONS = 27


class ServiceError(CallerError):
    """A service refuses a request. `code` is for programs, the text for people."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


class BadFrame(CallerError):
    """Bytes on the native socket that are no valid frame; the connection cannot go on."""


class BadRing(CallerError):
    """What a client and the daemon share (ring, handshake) is not what it must be; the connection cannot go on."""


class BadPacket(TotemdError):
    """A datagram or message that is not valid. `reason` is a short stable word for counters."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class OperatorError(TotemdError):
    """The operator must act; the text says what was found, what is allowed and what to do."""


class ConfigError(OperatorError):
    """A configuration file is wrong at `file`:`line` (line 0: the file as a whole), key `key`."""

    def __init__(self, text: str, *, file: str = "", line: int = 0, key: str = "") -> None:
        text, key = printable(text), printable(key)
        place = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(f"{place}{key + ': ' if key else ''}{text}")
        self.file = file
        self.line = line
        self.key = key
        self.text = text


class MachineError(TotemdError):
    """The machine failed: disk full, address gone, permission denied."""
