"""The rooms of the design hold: who imports whom, what the hot path may load, how modules are made, what is
packaged.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("api", "compat", "engine", "openapi")
MODULES = sorted(
    path
    for room in ROOMS
    for path in (ROOT / room).rglob("*.py")
    if "__pycache__" not in path.parts and not path.name.endswith("_pb2.py")  # protoc's
)

MAY_IMPORT = {
    "api": {"api", "compat", "engine", "openapi"},
    "compat": {"compat", "engine", "openapi"},
    "engine": {"engine", "openapi"},
    "openapi": {"openapi"},
}
COMPAT_NEEDS = {"engine.errors", "engine.filters"}  # of the engine, `compat` knows its words, not its services
ALONE = ("engine/runtime", "engine/shim")  # run in every container's shim: the standard library and each other only
DAEMON_SIDE = {f"engine/shim/{one}.py" for one in ("client", "connection", "messages")}  # the daemon's end
HEAVY = {"asyncio", "dataclasses", "logging", "pathlib", "shutil", "subprocess", "tempfile", "threading", "typing"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_of(path: Path) -> list[str]:
    """`engine/runtime/linux.py` as ["engine", "runtime", "linux"]; a package as its folder."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def imports(path: Path, *, at_run_time: bool = False) -> Iterator[str]:
    """Absolute dotted names that a module imports; its own package's without the leading `lightship`."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path)[:-1]
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if at_run_time and isinstance(node, ast.If) and is_type_checking(node.test):
            pending += node.orelse
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            target = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            yield from (f"{target}.{alias.name}" for alias in node.names) if node.level else (target,)


def ours(imported: str) -> bool:
    return imported.split(".")[0] in ROOMS


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_rooms_import_in_one_direction(path: Path) -> None:
    for imported in filter(ours, imports(path)):
        assert imported.split(".")[0] in MAY_IMPORT[module_of(path)[0]], imported


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[len(ROOT.parts)] == "compat"], ids=name)
def test_compat_knows_no_service(path: Path) -> None:
    for imported in imports(path):
        assert not imported.startswith("engine.") or imported.rsplit(".", 1)[0] in COMPAT_NEEDS, imported


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_room_is_imported_as_a_top_level_name(path: Path) -> None:
    """`import engine` would work in the repository and not when installed."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & {*ROOMS, "lightship"}, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert (node.module or "").split(".")[0] not in {*ROOMS, "lightship"}, ast.unparse(node)


@pytest.mark.parametrize(
    "path", [p for p in MODULES if name(p).startswith(ALONE) and name(p) not in DAEMON_SIDE], ids=name
)
def test_runtime_and_shim_stand_alone(path: Path) -> None:
    for imported in imports(path, at_run_time=True):
        if ours(imported):
            assert imported.startswith(("engine.runtime", "engine.shim")), imported
        else:
            assert imported.split(".")[0] in sys.stdlib_module_names, imported


def test_what_the_zygote_loads() -> None:
    """Each shim carries it, so nothing heavy may come in, by whatever way."""
    code = (
        "import sys; before = set(sys.modules); import lightship.engine.supervisor.zygote;"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not set(loaded) & HEAVY
    assert {module for module in loaded if module not in sys.stdlib_module_names} == {"lightship"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    if path.name == "__init__.py":
        assert len(tree.body) == 1, "a package's __init__ is its docstring"
    elif tree.body[1:]:
        assert "from __future__ import annotations" in path.read_text()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_are_short(path: Path) -> None:
    """At most 400 lines, 600 where the module is one long table or list; the runtime's init alone may have a long
    function.
    """
    text = path.read_text()
    assert text.count("\n") <= 600
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and path.name != "init.py":
            assert (node.end_lineno or node.lineno) - node.lineno < 60, node.name


def test_packages_are_the_tree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = {".".join(["lightship", *module_of(path)]) for path in MODULES if path.name == "__init__.py"}
    assert set(project["tool"]["setuptools"]["packages"]) == found


def test_data_files_are_packaged() -> None:
    """Every file in a room that is not Python is in package-data."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                package = ".".join(["lightship", *path.parent.relative_to(ROOT).parts])
                assert any(path.match(pattern) for pattern in data.get(package, [])), name(path)


def test_no_marks_of_unfinished_work() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X:", "HA" + "CK")
    assert [name(path) for path in MODULES if any(mark in path.read_text() for mark in marks)] == []
