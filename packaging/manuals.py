"""Man pages and shell completion for totemd and totemctl, from the commands' own parsers: `make man`.

Whatever `--help` says stands in the page, and whatever the parser takes is completed, so neither can be out of date.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from totemd import __version__
from totemd.cli import ctl
from totemd.cli import daemon as totemd

PAGES: Final = ("totemd.8", "totemctl.8", "totemctl-cluster.8")
COMPLETIONS: Final = ("totemctl.bash", "_totemctl", "totemctl.fish", "totemd.bash", "_totemd", "totemd.fish")


@dataclass
class Command:
    """One parser: the words that lead to it, and what it says of itself."""

    words: tuple[str, ...]
    parser: argparse.ArgumentParser
    brief: str
    children: list["Command"]

    def walk(self) -> Iterator["Command"]:
        """This one and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def options(self) -> list[argparse.Action]:
        """What begins with a dash."""
        return [action for action in self.parser._actions if action.option_strings]

    def positionals(self) -> list[argparse.Action]:
        """What does not, commands excepted."""
        actions = self.parser._get_positional_actions()
        return [action for action in actions if not isinstance(action, argparse._SubParsersAction)]


def read(parser: argparse.ArgumentParser, words: tuple[str, ...], brief: str = "") -> Command:
    """The tree of a program's commands."""
    children = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            briefs = {choice.dest: choice.help or "" for choice in action._choices_actions}
            children += [read(child, (*words, name), briefs[name]) for name, child in action.choices.items()]
    return Command(words, parser, brief, children)


def programs() -> dict[str, Command]:
    """Both programs."""
    return {
        "totemd": read(totemd._parser(), ("totemd",), "serve as one node of a Totem ring"),
        "totemctl": read(ctl.build_parser(), ("totemctl",), "ask and steer the totemd on this machine"),
    }


# --- man pages: the man macros of groff_man(7)


def escaped(text: str) -> str:
    """Text that troff prints as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return re.sub(r"(?m)^([.'])", r"\\&\1", text)


def prose(text: str) -> list[str]:
    """Paragraphs; lines that are indented, as examples and tables are, stay lines."""
    lines: list[str] = []
    fixed = False
    for line in text.strip("\n").split("\n"):
        if lines and line.startswith(("Exit status:", "example:", "examples:")) and lines[-1] != ".PP":
            lines.append(".PP")
        indented = line.startswith("  ")
        if indented != fixed and line.strip():
            lines.append(".nf" if indented else ".fi")
            fixed = indented
        if line.strip():
            lines.append(escaped(line.rstrip()))
        else:
            if fixed:
                lines.append(".fi")
                fixed = False
            lines.append(".PP")
    if fixed:
        lines.append(".fi")
    return lines


def usage(command: Command) -> list[str]:
    """The synopsis, in one paragraph."""
    parts = [f"\\fB{escaped(' '.join(command.words))}\\fR"]
    for action in _own_options(command):
        flag = action.option_strings[-1]
        value = f" \\fI{escaped(_value(action))}\\fR" if _takes_value(action) else ""
        parts.append(f"[\\fB{escaped(flag)}\\fR{value}]")
    for action in command.positionals():
        word = f"\\fI{escaped(_value(action))}\\fR"
        parts.append(f"[{word}]" if action.nargs in ("?", "*", argparse.REMAINDER) else word)
    if command.children:
        parts.append("\\fICOMMAND\\fR ...")
    return [" ".join(parts)]


def arguments(command: Command) -> list[str]:
    """A tagged paragraph for each argument and option."""
    lines = []
    for action in (*command.positionals(), *_own_options(command)):
        names = ", ".join(f"\\fB{escaped(flag)}\\fR" for flag in action.option_strings)
        value = f"\\fI{escaped(_value(action))}\\fR" if _takes_value(action) or not names else ""
        lines += [".TP", f"{names} {value}".strip(), escaped(_help(action, command.parser)) or "\\&"]
    return lines


def _own_options(command: Command) -> list[argparse.Action]:
    """Without --help, and without what all commands of a program take, except where they are told of once."""
    common = ("-h", "--socket", "--json") if len(command.words) > 1 and command.words[-1] != "cluster" else ("-h",)
    return [action for action in command.options() if action.option_strings[0] not in common]


def _takes_value(action: argparse.Action) -> bool:
    return action.nargs != 0


def _value(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    return action.dest.upper()


def _help(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    return parser._get_formatter()._expand_help(action) if action.help else ""


def page(name: str, section: int, brief: str, command: Command, commands: Sequence[Command]) -> str:
    """One page: `command` itself, then a subsection for each of `commands`."""
    parser = command.parser
    lines = [
        '.\\" Made from the commands\\(aq own help by packaging/manuals.py.',
        f'.TH {name.upper()} {section} "" "totemd {__version__}" "totemd"',
        ".SH NAME",
        f"{escaped(name)} \\- {escaped(brief)}",
        ".SH SYNOPSIS",
        *usage(command),
        ".SH DESCRIPTION",
        *prose(parser.description or ""),
        ".SH OPTIONS",
        *arguments(command),
    ]
    if commands:
        lines += [".SH COMMANDS"]
    for child in commands:
        lines += [f".SS {escaped(' '.join(child.words[1:]))}", *usage(child), ".PP"]
        lines += prose(child.parser.description or child.brief)
        lines += arguments(child)
        if child.parser.epilog and not child.children:
            lines += [".PP", *prose(child.parser.epilog)]
    if parser.epilog:
        lines += [".SH NOTES", *prose(parser.epilog)]
    others = [f"\\fB{escaped(page[:-2])}\\fR(8)" for page in PAGES if page != f"{name}.{section}"]
    lines += [".SH SEE ALSO", ", ".join([*others, "\\fBcorosync.conf\\fR(5)", "\\fBvotequorum\\fR(5)"])]
    return "\n".join(lines) + "\n"


def man_pages() -> dict[str, str]:
    """All pages by file name."""
    found = programs()
    ctl_ = found["totemctl"]
    cluster = next(child for child in ctl_.children if child.words[-1] == "cluster")
    others = [command for child in ctl_.children for command in child.walk() if child is not cluster]
    inside = [command for child in cluster.children for command in child.walk()]
    return {
        "totemd.8": page("totemd", 8, found["totemd"].brief, found["totemd"], ()),
        "totemctl.8": page("totemctl", 8, ctl_.brief, ctl_, [*others, cluster]),
        "totemctl-cluster.8": page("totemctl-cluster", 8, cluster.brief, cluster, inside),
    }


# --- completion


def _is_file(action: argparse.Action) -> bool:
    return _value(action) in ("FILE", "DIR", "PATH", "PCAP-or-HEX")


def _choices(action: argparse.Action) -> list[str]:
    return [] if action.choices is None else [str(choice) for choice in action.choices]


def bash(command: Command) -> str:
    """Completion for bash: a function that finds the command in the line, and a table of what it takes."""
    name = command.words[0]
    children, options, values, first = [], [], [], []
    for each in command.walk():
        key = " ".join(each.words[1:])
        if each.children:
            children.append(f'        "{key}") echo "{" ".join(child.words[-1] for child in each.children)}" ;;')
        flags = " ".join(flag for action in each.options() for flag in action.option_strings)
        options.append(f'        "{key}") echo "{flags}" ;;')
        for action in each.options():
            if _takes_value(action):
                pattern = "|".join(f'"{key} {flag}"' for flag in action.option_strings)
                kind = "-f" if _is_file(action) else f'-W "{" ".join(_choices(action))}"'
                values.append(f"        {pattern}) echo '{kind}' ;;")
        positional = next(iter(each.positionals()), None)
        if positional is not None and (_is_file(positional) or _choices(positional)):
            kind = "-f" if _is_file(positional) else f'-W "{" ".join(_choices(positional))}"'
            first.append(f"        \"{key}\") echo '{kind}' ;;")
    function = f"_{name}"
    return f"""\
# bash completion for {name}, made from its own parser by packaging/manuals.py

{function}_children() {{
    case "$1" in
{_lines(children)}
    esac
}}

{function}_options() {{
    case "$1" in
{_lines(options)}
    esac
}}

{function}_value() {{
    case "$1 $2" in
{_lines(values)}
    esac
}}

{function}_first() {{
    case "$1" in
{_lines(first)}
    esac
}}

{function}() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} path="" word kind i skip=""
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        if [[ -n $skip ]]; then
            skip=""
        elif [[ $word == -* ]]; then
            [[ -n $({function}_value "$path" "$word") ]] && skip=$word
        elif [[ " $({function}_children "$path") " == *" $word "* ]]; then
            path="${{path:+$path }}$word"
        fi
    done
    if [[ -n $skip ]]; then
        kind=$({function}_value "$path" "$skip")
    elif [[ $current == -* ]]; then
        kind="-W \\"$({function}_options "$path")\\""
    elif [[ -n $({function}_children "$path") ]]; then
        kind="-W \\"$({function}_children "$path")\\""
    else
        kind=$({function}_first "$path")
    fi
    [[ $kind == -f ]] && compopt -o filenames 2>/dev/null
    [[ -n $kind ]] && eval "mapfile -t COMPREPLY < <(compgen $kind -- \\"\\$current\\")"
    return 0
}}

complete -F {function} {name}
"""


def _lines(cases: list[str]) -> str:
    return "\n".join(cases) if cases else "        *) : ;;"


def _zsh_text(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("'", "'\\''").replace(":", "\\:").replace("[", "(").replace("]", ")")


def _zsh_action(action: argparse.Action) -> str:
    if _is_file(action):
        return "_files"
    choices = _choices(action)
    return f"({' '.join(choices)})" if choices else " "


def zsh(command: Command) -> str:
    """Completion for zsh: one function for each command, by _arguments."""
    name = command.words[0]
    functions = []
    for each in command.walk():
        specs = []
        for action in each.options():
            flags = action.option_strings
            text = f"[{_zsh_text(_help(action, each.parser))}]"
            value = f":{_zsh_text(_value(action))}:{_zsh_action(action)}" if _takes_value(action) else ""
            head = f"'({' '.join(flags)})'{{{','.join(flags)}}}" if len(flags) > 1 else f"'{flags[0]}'"
            specs.append(f"{head}'{text}{value}'")
        if each.children:
            specs += ["'1:command:->command'", "'*::argument:->argument'"]
        for action in each.positionals():
            many = "*" if action.nargs in ("*", argparse.REMAINDER) else ""
            specs.append(f"'{many}:{_zsh_text(_value(action))}:{_zsh_action(action)}'")
        body = " \\\n        ".join(specs)
        lines = [f"{_zsh_name(each)}() {{"]
        if each.children:
            lines.append('    local curcontext="$curcontext" context state state_descr line\n    typeset -A opt_args')
        lines.append(f"    _arguments {'-C ' * bool(each.children)}-S \\\n        {body}")
        if each.children:
            listed = "\n".join(f"            '{child.words[-1]}:{_zsh_text(child.brief)}'" for child in each.children)
            cases = "\n".join(f"        {child.words[-1]}) {_zsh_name(child)} ;;" for child in each.children)
            lines.append(
                f"    case $state in\n    command)\n        local -a found\n        found=(\n{listed}\n        )\n"
                "        _describe command found ;;\n    argument)\n        case $line[1] in\n"
                f"{cases}\n        esac ;;\n    esac"
            )
        functions.append("\n".join([*lines, "}"]))
    head = f"#compdef {name}\n# zsh completion for {name}, made from its own parser by packaging/manuals.py\n"
    return "\n\n".join([head, *functions, f'{_zsh_name(command)} "$@"']) + "\n"


def _zsh_name(command: Command) -> str:
    return "_" + "_".join(word.replace("-", "_") for word in command.words)


def _fish_text(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("\\", "\\\\").replace("'", "\\'")


def fish(command: Command) -> str:
    """Completion for fish: a condition by the words that are there, for each thing that can follow."""
    name = command.words[0]
    lines = [
        f"# fish completion for {name}, made from its own parser by packaging/manuals.py",
        f"complete -c {name} -f",
    ]
    for each in command.walk():
        words = each.words[1:]
        seen = [f"__fish_seen_subcommand_from {word}" for word in words]
        below = " ".join(child.words[-1] for child in each.children)
        deepest = [*seen, f"not __fish_seen_subcommand_from {below}"] if below else seen
        condition = f"-n '{'; and '.join(deepest)}' " if deepest else ""
        for child in each.children:
            lines.append(f"complete -c {name} {condition}-a {child.words[-1]} -d '{_fish_text(child.brief)}'")
        for action in each.options():
            flags = " ".join(
                f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in action.option_strings
            )
            value = ""
            if _takes_value(action):
                value = " -r -F" if _is_file(action) else f" -x -a '{' '.join(_choices(action))}'"
            text = _fish_text(_help(action, each.parser))
            lines.append(f"complete -c {name} {condition}{flags}{value} -d '{text}'")
        if any(_is_file(action) for action in each.positionals()):
            lines.append(f"complete -c {name} {condition}-F")
    return "\n".join(lines) + "\n"


def completions() -> dict[str, str]:
    """All scripts by file name."""
    found: dict[str, str] = {}
    for name, command in programs().items():
        found |= {f"{name}.bash": bash(command), f"_{name}": zsh(command), f"{name}.fish": fish(command)}
    return found


def main(directory: str) -> None:
    """Write everything below `directory`: man/ and completion/."""
    for folder, files in (("man", man_pages()), ("completion", completions())):
        place = Path(directory) / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (place / name).write_text(text)
            print(place / name)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "build")
