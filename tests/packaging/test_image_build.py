"""`make image` where there is a builder of some kind, or none; the image itself is tried by `make image-test`."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("sh", "sed", "grep", "tail", "cut", "dirname", "printf")


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs packaging/image/build where only those builders are installed; they write down how they were called."""

    def build(
        *builders: str, broken: tuple[str, ...] = (), failing: tuple[str, ...] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "bin"
        path.mkdir()
        for name in NEEDED:
            found = shutil.which(name)
            assert found is not None
            (path / name).symlink_to(found)
        for name in builders:
            info = "echo 'ERROR: Cannot connect to the engine' >&2; exit 1" if name in broken else "exit 0"
            status = 7 if name in failing else 0
            script = f'#!/bin/sh\n[ "$1" != info ] || {{ {info}; }}\necho "called: {name} $*"\nexit {status}\n'
            (path / name).write_text(script)
            (path / name).chmod(0o755)
        environment = {"PATH": str(path), **environment}
        command = [str(ROOT / "packaging/image/build")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)

    return build


def called(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("called: ")]
    return line.removeprefix("called: ")


def test_no_builder_is_said_clearly(build: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = build("docker", broken=("docker",))
    assert result.returncode == 1
    assert result.stdout == ""
    assert "docker: ERROR: Cannot connect to the engine" in result.stderr
    assert "podman: not installed" in result.stderr
    assert "buildah: not installed" in result.stderr
    assert "apt-get install buildah" in result.stderr


def test_the_first_that_works_is_used(build: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    command = called(build("docker", "podman", "buildah", broken=("docker",)))
    # The health check is lost in any other format.
    assert command.startswith("podman build --format docker --tag totemd:")
    assert command.endswith(" --file Dockerfile .")


def test_what_was_asked_for_is_passed_on(build: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = build(
        "docker", "buildah", IMAGE_TOOL="buildah", IMAGE="a/b:c", BASE="x/y", COMPILE="1", IMAGE_ARGS="--one --two 3"
    )
    assert called(result) == (
        "buildah build --format docker --layers=false --tag a/b:c --file Dockerfile"
        " --build-arg BASE=x/y --build-arg COMPILE=1 --one --two 3 ."
    )


def test_a_build_that_fails_is_a_failure(build: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = build("docker", failing=("docker",))
    assert result.returncode == 7
    assert "is built" not in result.stdout


def test_the_dockerfile_takes_what_the_context_lets_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = set()
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied.update(line.split()[1:-1])
    assert copied == let_through
    assert all(os.path.exists(ROOT / name) for name in copied)
