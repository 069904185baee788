"""Programs linked with corosync's libraries that are led call by call, and what they write down.

The programs are in tests/integration/clients; player.h explains their lines.
"""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from totemd_lab.beside import PATIENCE_S, Mask, Watch
from totemd_lab.places import LabError
from totemd_lab.ring import Lab, wait_until

SOURCES = Path(__file__).parent.parent.parent / "integration" / "clients"
LIBRARIES = ("cpg", "quorum", "votequorum", "cmap", "cfg")

MASKS = [
    Mask(
        r"^(! (?:ring|nodes|quorum[01]) .*?(?:\d+|\*)\.)\d+",
        r"\1SEQUENCE",
        "depends on how many rings were made before",
    ),
]


class Player(Watch):
    """One program of one library."""

    def call(self, line: str) -> str:
        """Make a call. Returns its result: the status and what the call gives."""
        self.begin(line)
        return self.result()

    def begin(self, line: str) -> None:
        """Make a call without waiting for its end."""
        self.say(line)

    def result(self, timeout_s: float = 4 * PATIENCE_S) -> str:
        """The result of the call begun."""
        return self.wait_for("^= .*\n", timeout_s, "results")[2:-1]

    def event(self, pattern: str) -> None:
        """Wait for a further event that matches."""
        self.wait_for(rf"^[!~] .*{pattern}.*\n", reader="events")


class Stage:
    """The players of one scenario on one cluster."""

    def __init__(self, lab: Lab, programs: Path, directory: Path) -> None:
        self.lab = lab
        self._programs = programs
        self._directory = directory
        self._players: dict[str, Player] = {}
        self._ignored: list[str] = []

    def player(self, name: str, library: str, node: int, prefix: Sequence[str] = ()) -> Player:
        """Start a program. `name` stands for its process id in what is compared."""
        argv = [*prefix, str(self._programs / library)]
        player = Player(self.lab.node(node), argv, self._directory / name, errors=False)
        self._players[name] = player
        return player

    def settle(self, node: int, call: str, pattern: str) -> None:
        """Repeat a call of libvotequorum on a node, unseen, until its result matches: votes take effect by and by."""
        name = f"_{node}"
        if name not in self._players:
            self.player(name, "votequorum", node).call("open 0")
        player = self._players[name]
        results: list[str] = []

        def settled() -> bool:
            results.append(player.call(call))
            return re.search(pattern, results[-1]) is not None

        if not wait_until(settled, PATIENCE_S):
            raise LabError(f"{call} never gives {pattern!r} but {results[-1]}")

    def ignore(self, pattern: str) -> None:
        """Leave lines that match, and results of calls that match, out of what is compared."""
        self._ignored.append(pattern)

    def transcript(self) -> str:
        """What every player has written down: its calls, and the events of every slot by themselves.

        Which of two sockets is read first, and an event before or after a call, is the machine's affair.
        """
        text = "".join(f"== {name}\n{_sorted(player.text())}" for name, player in self._shown().items())
        for pattern in self._ignored:
            text = re.sub(rf"^> {pattern}.*\n= .*\n|^.*{pattern}.*\n", "", text, flags=re.MULTILINE)
        for name, player in self._shown().items():
            text = re.sub(rf"\b(\d+):{player.pid}\b", rf"\1:{name}", text)
        return text

    def anonymous(self, text: str) -> str:
        """A tool's output with the players' names instead of their process ids."""
        for name, player in self._players.items():
            text = re.sub(rf"\b{player.pid}\b", f"PID_{name}", text)
        return text

    def _shown(self) -> dict[str, Player]:
        return {name: player for name, player in self._players.items() if not name.startswith("_")}

    def close(self) -> None:
        """Kill the players."""
        for player in self._players.values():
            player.kill()


def _sorted(text: str) -> str:
    """Calls first, then the events, slot by slot."""

    def place(line: str) -> int:
        return int(line.split()[2]) if line[0] in "!~" else -1

    return "".join(sorted(text.splitlines(keepends=True), key=place))


def compile_players(directory: Path) -> None:
    """Compile all programs. Raises LabError if one does not compile without a warning."""
    for library in LIBRARIES:
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(directory / library)]
        command += [str(SOURCES / f"{library}.c"), f"-l{library}"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise LabError(result.stderr)
