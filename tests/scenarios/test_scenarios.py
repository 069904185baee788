"""Every transcript tests/scenarios/*.txt happens again, line by line."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scenario_commands import BadCommand, Scenario
from totemd.totem.core import State

HERE = Path(__file__).resolve().parent
PROMPT = "> "


@dataclass
class Entry:
    """A command with what it prints, or (command "") lines between commands that are kept as they are."""

    line: int
    command: str
    text: list[str] = field(default_factory=list)


def read_transcript(text: str) -> list[Entry]:
    """Entries in order: "> command", the lines it prints up to an empty line, a comment or the next command."""
    entries: list[Entry] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(PROMPT):
            entries.append(Entry(number, line.removeprefix(PROMPT)))
        elif not line or line.startswith("#"):
            entries.append(Entry(number, "", [line]))
        elif not entries or not entries[-1].command:
            raise BadCommand(f"line {number}: {line!r} is no command, comment or output")
        else:
            entries[-1].text.append(line)
    return entries


def write_transcript(entries: list[Entry]) -> str:
    """The inverse of `read_transcript`."""
    lines = []
    for entry in entries:
        lines += [f"{PROMPT}{entry.command}", *entry.text] if entry.command else entry.text
    return "".join(f"{line}\n" for line in lines)


TRANSCRIPTS = sorted(HERE.glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path, request: pytest.FixtureRequest) -> None:
    entries = read_transcript(path.read_text())
    rewrite = request.config.getoption("--rewrite")
    scenario = Scenario()
    for entry in entries:
        if not entry.command:
            continue
        printed = scenario.run(entry.command)
        if rewrite:
            entry.text = printed
        assert printed == entry.text, f"{path.name}:{entry.line}: {PROMPT}{entry.command}"
    if rewrite:
        path.write_text(write_transcript(entries))


def test_a_transcript_survives_reading_and_writing() -> None:
    text = "# what\n\n> cluster nodes=1\n> start 1\nn1 something\nn1 else\n\n> show states\n"
    assert write_transcript(read_transcript(text)) == text


def test_unknown_commands_are_named() -> None:
    with pytest.raises(BadCommand, match="unknown command 'dance'"):
        Scenario().run("dance 1")
    with pytest.raises(BadCommand, match="no cluster"):
        Scenario().run("start 1")


def test_every_row_of_the_table_is_walked_in_every_state() -> None:
    chapter = (HERE.parents[1] / "protocol" / "3-membership.md").read_text()
    rows = re.findall(r"^\| \[(MEM-[A-Z]+)\] \|", chapter, re.MULTILINE)
    assert len(rows) == 12
    walked = re.findall(r"^# \[(MEM-[A-Z]+)\] ([A-Z]+)$", (HERE / "state_table.txt").read_text(), re.MULTILINE)
    states = [state.name for state in State if state is not State.LEFT]
    assert walked == [(row, state) for row in rows for state in states]
