"""Scripts of command lines that are run beside the nodes of a cluster, as text that can be compared."""

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from totemd_lab.beside import PATIENCE_S, Output, Watch, tool
from totemd_lab.nodes import Node
from totemd_lab.places import LabError
from totemd_lab.ring import Lab, wait_until


@dataclass(frozen=True)
class Run:
    """Run a command line beside a node, and write down what it does."""

    command: str
    node: int = 1
    until: str = ""
    """Repeat it until its output matches: what was done before may take effect later elsewhere."""


@dataclass(frozen=True)
class Do:
    """Do something else to the cluster; nothing is written down."""

    action: Callable[[Lab], None]


Step = Run | Do
Script = Sequence[Step]


def runs(*commands: str, node: int = 1) -> Script:
    """Commands of one node."""
    return [Run(command, node) for command in commands]


def transcript(lab: Lab, script: Script) -> str:
    """Play the script. Returns the commands, what they printed and their statuses."""
    parts: list[str] = []
    for step in script:
        if isinstance(step, Do):
            step.action(lab)
        else:
            parts.append(f"n{step.node}$ {step.command}\n{_run(lab, step)}")
    return "\n".join(parts)


def _run(lab: Lab, step: Run) -> Output:
    node = lab.node(step.node)
    output = tool(node, shlex.split(step.command))

    def seen() -> bool:
        nonlocal output
        if re.search(step.until, output.out + output.err, re.MULTILINE):
            return True
        output = tool(node, shlex.split(step.command))
        return False

    if step.until and not wait_until(seen, PATIENCE_S):
        raise LabError(f"{step.command} never shows {step.until!r}:\n{output}")
    return output


def edit(pattern: str, replacement: str) -> Do:
    """Change every node's corosync.conf."""

    def change(lab: Lab) -> None:
        for node in lab.nodes:
            text = node.conf.read_text()
            changed = re.sub(pattern, replacement, text, count=1, flags=re.MULTILINE)
            assert changed != text, pattern
            node.conf.write_text(changed)

    return Do(change)


def restore() -> Do:
    """Write every node's corosync.conf as it was."""

    def write(lab: Lab) -> None:
        for node in lab.nodes:
            lab.configure(node, lab.settings)

    return Do(write)


RELOADED = re.compile(r"Config reload requested by node|the configuration was (?:not )?reloaded")


def reload(nodeid: int = 1) -> Script:
    """Have all nodes read their files again, and wait until each has: what is edited next is not for this time."""
    before: dict[int, int] = {}

    def reloads(node: Node) -> int:
        return len(RELOADED.findall(node.log_text()))

    def count(lab: Lab) -> None:
        before.update({node.nodeid: reloads(node) for node in lab.nodes})

    def wait(lab: Lab) -> None:
        if not wait_until(lambda: all(reloads(node) > before[node.nodeid] for node in lab.nodes), PATIENCE_S):
            raise LabError(f"not everywhere reloaded:\n{lab.describe()}")
        for node in lab.nodes:
            # corosync reads the file after it has said so, and answers nobody meanwhile.
            tool(node, ["corosync-cmapctl", "-g", "totem.version"])

    return [Do(count), Run("corosync-cfgtool -R", nodeid), Do(wait)]


def leave_and_return(lab: Lab, nodeid: int, left: Callable[[], object], back: Callable[[], object]) -> None:
    """Stop a node and start it again; `left` and `back` wait until that has been seen."""
    lab.node(nodeid).terminate()
    lab.wait_formed()
    left()
    lab.start([lab.node(nodeid)])
    lab.wait_formed()
    back()


def watching(node: Node, command: str, directory: Path) -> Watch:
    """A tool that prints what happens."""
    return Watch(node, shlex.split(command), directory / "watch")
