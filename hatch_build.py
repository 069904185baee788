"""Build hook: with TOTEMD_COMPILE=1 in the environment the wheel has the hot modules compiled, by mypyc.

Without it, and in editable installs, the package is plain Python. The compiled form needs a C compiler. The modules
stay in the wheel as Python, too, so that tracebacks and `inspect` have their source.

mypyc compiles plain classes well, and does not know our decorator `record`: so it is given a copy of the source, in
which each record is the plain class, spelled out, that the decorator would have made of it.
"""

import ast
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SWITCH = "TOTEMD_COMPILE"
SOURCE = "src"

HOT = (
    "errors.py",
    "ids.py",
    "limits.py",
    "wire/*.py",
    "totem/*.py",
    "groups/*.py",
    "services/base.py",
    "services/cpg/*.py",
    "ipc/ports.py",
    "qb/*.py",
    "shell/qb_connection.py",
    "shell/qb_memory.py",
    "shell/transport.py",
    "shell/sealed_transport.py",
    "node/*.py",
)
"""What a message and the token pass through; the rest would gain nothing."""


class CompileHook(BuildHookInterface[Any]):
    """See the module."""

    PLUGIN_NAME = "custom"

    def _wanted(self) -> bool:
        return self.target_name == "wheel" and os.environ.get(SWITCH) == "1"

    def dependencies(self) -> list[str]:
        """What the build environment needs besides hatchling."""
        return ["mypy>=1.14", "setuptools>=70", "msgpack>=1.0", "types-psutil"] if self._wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into a directory of our own, and have the wheel take the results."""
        if not self._wanted() or version == "editable":
            return
        self._directory = tempfile.mkdtemp(prefix="totemd-compile-")
        for library in compile_hot_modules(Path(self.root), Path(self._directory)):
            build_data["force_include"][str(library)] = str(library.relative_to(self._directory))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made for the wheel."""
        if hasattr(self, "_directory"):
            shutil.rmtree(self._directory, ignore_errors=True)


def compile_hot_modules(root: Path, into: Path, *, effort: str = "3") -> list[Path]:
    """Compile with gcc's optimization level `effort`; gives the libraries, which lie in `into` as in site-packages."""
    from mypyc.build import mypycify
    from setuptools import Distribution

    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="totemd-mypyc-") as scratch:
        package = Path(scratch) / SOURCE / "totemd"
        shutil.copytree(root / SOURCE / "totemd", package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        paths = sorted(path for pattern in HOT for path in package.glob(pattern))
        for path in paths:
            path.write_text(spell_out_records(path.read_text()))
        modules = [str(path.relative_to(scratch)) for path in paths]
        os.chdir(scratch)
        try:
            options = ["--config-file=", "--ignore-missing-imports", "--explicit-package-bases", "--namespace-packages"]
            os.environ["MYPYPATH"] = str(Path(scratch) / SOURCE)
            extensions = mypycify(
                [*options, f"--cache-dir={scratch}/cache", *modules],
                opt_level=effort,
                debug_level="0",
                group_name="totemd",
                target_dir=f"{scratch}/c",
            )
            distribution = Distribution({"name": "totemd", "ext_modules": extensions, "package_dir": {"": SOURCE}})
            command = distribution.get_command_obj("build_ext")
            command.build_lib, command.build_temp = str(into), f"{scratch}/o"
            distribution.run_command("build_ext")
        finally:
            os.chdir(before)
    return sorted(into.rglob("*.so"))


def spell_out_records(source: str) -> str:
    """The module `source` with plain classes in the place of records."""
    tree = ast.parse(source)
    found = False
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            kept = [one for one in node.decorator_list if not (isinstance(one, ast.Name) and one.id == "record")]
            if len(kept) < len(node.decorator_list):
                node.decorator_list = kept
                _spell_out(node)
                found = True
    return ast.unparse(tree) if found else source


def _spell_out(node: ast.ClassDef) -> None:
    fields = [one for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]
    parameters, settings, names = [], [], []
    for field in fields:
        assert isinstance(field.target, ast.Name)
        name = field.target.id
        default = "" if field.value is None else f" = {ast.unparse(field.value)}"
        parameters.append(f"{name}: {ast.unparse(field.annotation)}{default}")
        settings.append(f"        self.{name} = {name}")
        names.append(name)
        field.value = None
    mine, its = ("".join(f"{whose}.{name}, " for name in names) for whose in ("self", "other"))
    shown = ", ".join(f"{name}={{self.{name}!r}}" for name in names)
    methods = f"""class _:
    def __init__(self, {", ".join(parameters)}) -> None:
{chr(10).join(settings) or "        pass"}
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, {node.name}):
            return NotImplemented
        return ({mine}) == ({its})
    def __hash__(self) -> int:
        return hash(({mine}))
    def __repr__(self) -> str:
        return f"{node.name}({shown})"
"""
    (made,) = ast.parse(methods).body
    assert isinstance(made, ast.ClassDef)
    node.body += made.body
