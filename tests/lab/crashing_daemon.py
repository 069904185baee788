"""`totemd` that ends, as by SIGKILL, at a step of its work with the replicated configuration.

CRASH_AT=STEP, one of: check, store NAME, stored NAME (once it is durable), write, keys (once the key file is written),
written (once corosync.conf is). What the crash interrupts is not undone, what comes behind it does not happen.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from totemd.cli.daemon import main
from totemd.shell.configuration_files import ConfigurationFiles
from totemd.shell.configuration_keeper import ConfigurationKeeper

STEP = os.environ.get("CRASH_AT", "")
"""Only what is done for a change counts, not what is done at the start."""

started: list[str] = []


def crash_if(step: str) -> None:
    """End here if this is the step."""
    if step == "opened":
        started.append(step)
    elif started and step == STEP:
        os.kill(os.getpid(), signal.SIGKILL)


def wrapped(name: str, before: Callable[..., str], after: Callable[..., str], owner: Any = ConfigurationFiles) -> None:
    """Have a method crash before or after its work."""
    real = getattr(owner, name)

    def method(self: object, *arguments: Any) -> Any:
        crash_if(before(*arguments))
        result = real(self, *arguments)
        crash_if(after(*arguments))
        return result

    setattr(owner, name, method)


wrapped("open", lambda configuration: "", lambda configuration: "opened")
wrapped("store", lambda name, data: f"store {name}", lambda name, data: f"stored {name}")
wrapped("write", lambda text, keys: "write", lambda text, keys: "written")
wrapped("write_keys", lambda keys: "write", lambda keys: "keys")
wrapped("_checked", lambda text: "check", lambda text: "checked", ConfigurationKeeper)

if __name__ == "__main__":
    sys.exit(main())
