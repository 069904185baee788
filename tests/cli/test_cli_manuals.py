"""Man pages and completion say what the parsers say, and the programs that read them have nothing to complain of."""

import shutil
import subprocess
from pathlib import Path

import pytest

import manuals


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("manuals")
    manuals.main(str(directory))
    return directory


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def test_all_is_written(made: Path) -> None:
    assert {path.name for path in (made / "man").iterdir()} == set(manuals.PAGES)
    assert {path.name for path in (made / "completion").iterdir()} == set(manuals.COMPLETIONS)


@pytest.mark.parametrize("program", ["totemd", "totemctl"])
def test_every_command_and_option_is_in_a_page_and_in_all_completions(program: str, made: Path) -> None:
    pages = "".join(manuals.man_pages().values())
    scripts = {name: text for name, text in manuals.completions().items() if program in name}
    assert len(scripts) == 3
    for command in manuals.programs()[program].walk():
        assert manuals.escaped(" ".join(command.words)) in pages
        for action in command.options():
            for flag in action.option_strings:
                assert all(flag.lstrip("-") in text for text in scripts.values()), (command.words, flag)
                assert flag in ("-h", "--help") or manuals.escaped(flag) in pages


@needs("man")
@pytest.mark.parametrize("page", manuals.PAGES)
def test_man_has_no_complaint(made: Path, page: str) -> None:
    command = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(made / "man" / page)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_lines_that_troff_would_take_for_requests() -> None:
    assert manuals.escaped(".so x\n'x -a\\n") == "\\&.so x\n\\(aqx \\-a\\en"


def test_examples_stay_lines() -> None:
    assert manuals.prose("some text\nthat flows\n\nexamples:\n  a b\n  c d\nmore") == [
        *("some text", "that flows", ".PP", "examples:", ".nf", "  a b", "  c d", ".fi", "more")
    ]


@pytest.mark.parametrize(
    ("shell", "suffix"),
    [pytest.param(shell, suffix, marks=needs(shell)) for shell, suffix in (("bash", ".bash"), ("fish", ".fish"))]
    + [pytest.param("zsh", "", marks=needs("zsh"))],
)
def test_shells_can_parse_it(made: Path, shell: str, suffix: str) -> None:
    for program in ("totemd", "totemctl"):
        name = f"{program}{suffix}" if suffix else f"_{program}"
        subprocess.run([shell, "-n", str(made / "completion" / name)], check=True, capture_output=True)


@needs("bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("totemctl sta", "status stats"),
        ("totemctl cluster rot", "rotate-key"),
        ("totemctl --socket /x cluster config v", "validate"),
        ("totemctl cluster create --transport u", "udp udpu"),
        ("totemctl cluster nodes --a", "--all"),
        ("totemctl cluster nodes -- ", ""),
        ("totemd --state", "--state-dir"),
    ],
)
def test_bash_completes(made: Path, line: str, expected: str) -> None:
    program, *_ = words = line.split(" ")
    script = (
        f"source {made}/completion/{program}.bash; COMP_WORDS=({' '.join(word or repr('') for word in words)});"
        f"COMP_CWORD={len(words) - 1}; _{program}; echo ${{COMPREPLY[*]}}"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected.split()
    assert done.stderr == ""


@needs("bash")
def test_bash_completes_files(made: Path, tmp_path: Path) -> None:
    (tmp_path / "new.conf").touch()
    script = (
        f"source {made}/completion/totemctl.bash; COMP_WORDS=(totemctl cluster config apply {tmp_path}/n);"
        "COMP_CWORD=4; _totemctl; echo ${COMPREPLY[*]}"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "new.conf")
