"""What can go wrong for a client, sorted by what its author can do about it.

TotemdClientError
+-- CannotConnect       nobody answers on the socket, or we may not use it; the text names the socket and the fix
+-- ConnectionLost      the connection ended; requests in flight may or may not have been carried out
|   +-- CutOff          the daemon ended it on purpose and said why (this client did not read, the daemon stops ...)
+-- ProtocolError       the other end does not speak this version of the native socket's protocol
+-- Refused             the daemon refuses one request; carries the code word. The connection goes on
    +-- TryAgain        not now: the send queue is full or the members are synchronizing
"""

from totemd.errors import TotemdError


class TotemdClientError(TotemdError):
    """Base of everything that this package raises on purpose."""


class CannotConnect(TotemdClientError):
    """No connection to the daemon at `path`. The text is one line for the person at the terminal."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self.path = path


class ConnectionLost(TotemdClientError):
    """The connection ended; `reason` says how. Requests in flight may or may not have been carried out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CutOff(ConnectionLost):
    """The daemon closed this connection on purpose and gave `reason`."""


class ProtocolError(TotemdClientError):
    """The other end sent something that this version of the protocol does not know."""


class Refused(TotemdClientError):
    """The daemon refuses a request. `code` (such as "not_exist") is for programs, `message` for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})" if message else code)
        self.code = code
        self.message = message


class TryAgain(Refused):
    """The daemon cannot take this now; it announces with "ready" when to ask again."""


def refusal(code: str, message: str) -> Refused:
    """The exception for an error reply."""
    return TryAgain(code, message) if code == "try_again" else Refused(code, message)
