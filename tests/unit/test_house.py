"""The house keeps its shape: floors, sans-I/O cores, specification tables, light imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The order decides: the first prefix that fits gives the floor.
FLOORS = [
    ("carrick.cli", 6),
    ("carrick.testing", 6),
    ("carrick.__main__", 6),
    ("carrick.builder", 5),
    ("carrick.defaults", 5),
    ("carrick.lazy", 5),
    ("carrick.protocols", 4),
    ("carrick.host", 3),
    ("carrick.network", 2),
    ("carrick.peerstore", 2),
    ("carrick.transports", 1),
    ("carrick.identity", 0),
    ("carrick.addressing", 0),
    ("carrick.wire", 0),
    ("carrick.interfaces", 0),
    ("carrick.errors", 0),
    ("carrick.sockets", 0),
    ("carrick.files", 0),
    ("carrick.database", 0),
    ("carrick.deadlines", 0),
]
IO_MODULES = {"trio", "socket", "time", "random", "ssl", "select", "threading", "asyncio"}


def sources() -> list[tuple[str, Path]]:
    """Every module of the package by its import name; the links are not followed."""
    found = []
    for folder, prefix in (
        ("core/carrick", "carrick"),
        ("protocols", "carrick.protocols"),
        ("transports", "carrick.transports"),
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            relative = path.relative_to(ROOT / folder).with_suffix("")
            if relative.parts[0] in ("protocols", "transports") and prefix == "carrick":
                continue
            names = [part for part in relative.parts if part != "__init__"]
            found.append((".".join([prefix, *names]), path))
    return found


def floor(module: str) -> int | None:
    for prefix, number in FLOORS:
        if module == prefix or module.startswith(prefix + "."):
            return number
    return None


def imports(path: Path, *, lazy: bool = True) -> list[tuple[int, str]]:
    """(line, module) of the imports in a file; `lazy` takes those inside functions too."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree) if lazy else tree.body:
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                is_module = any(
                    (ROOT / "core" / submodule.replace(".", "/")).with_suffix(suffix).exists()
                    for suffix in (".py", "")
                )
                found += [(node.lineno, submodule if is_module else node.module)]
    return found


def test_every_module_has_a_floor() -> None:
    homeless = [name for name, _ in sources() if name != "carrick" and floor(name) is None]
    assert [name for name in homeless if not in_simulator(name)] == []


def test_nothing_imports_upwards() -> None:
    wrong = []
    for name, path in sources():
        own = floor(name)
        for line, target in imports(path):
            other = floor(target)
            if own is not None and other is not None and other > own:
                wrong.append(f"{path.relative_to(ROOT)}:{line} (floor {own}) imports {target}")
    assert wrong == []


def in_simulator(module: str) -> bool:
    return module == "carrick.sim" or module.startswith("carrick.sim.")


def test_the_simulator_stands_beside_the_house() -> None:
    """It knows nothing of ours, and only the highest floor knows it."""
    wrong = []
    for name, path in sources():
        for line, target in imports(path):
            if in_simulator(name):
                allowed = target.split(".")[0] != "carrick" or in_simulator(target)
            else:
                allowed = not in_simulator(target) or floor(name) == 6
            if not allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {target}")
    assert wrong == []


ROOMS_WITHIN = {"carrick.protocols.kademlia.crawler"}  # with a public face of their own


def test_protocols_know_each_other_only_by_their_public_face() -> None:
    wrong = []
    for name, path in sources():
        room = name.split(".")[:3]
        for line, target in imports(path):
            parts = target.split(".")
            deep = len(parts) > 3 and target not in ROOMS_WITHIN
            if parts[:2] == ["carrick", "protocols"] and parts[:3] != room and deep:
                wrong.append(f"{path.relative_to(ROOT)}:{line} reaches into {target}")
        if name.startswith("carrick.cli"):
            continue
    assert wrong == []


def test_there_are_no_import_circles() -> None:
    graph = {
        name: {
            target
            for _, target in imports(path, lazy=False)
            if target.startswith("carrick.") and target != name
        }
        for name, path in sources()
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        if module in trail:
            pytest.fail("import circle: " + " -> ".join([*trail[trail.index(module) :], module]))
        if module in done:
            return
        for target in graph.get(module, ()):
            visit(target, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_state_machines_do_no_io() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {target}"
        for name, path in sources()
        if name.endswith(".state")
        for line, target in imports(path)
        if target.split(".")[0] in IO_MODULES
    ]
    assert wrong == []


def spec_files() -> list[Path]:
    return sorted(path for path in (ROOT / "specs").glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("path", spec_files(), ids=lambda path: path.stem)
def test_specification_names_existing_tests(path: Path) -> None:
    text = path.read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::([\w\[\]-]+)`", text)
    assert named, "a specification page names the tests of its requirements"
    missing = []
    for file, test in named:
        function = test.partition("[")[0]
        source = ROOT / file
        if not source.exists() or not re.search(
            rf"^\s*(async )?(def|class) {function}\b", source.read_text(), re.MULTILINE
        ):
            missing.append(f"{file}::{test}")
    assert missing == []


def test_import_is_light() -> None:
    """`import carrick` loads neither transports nor protocols nor the command's libraries."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import carrick, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT / "core")},
    ).stdout.split()
    heavy = {"click", "rich", "dns", "psutil", "OpenSSL", "prometheus_client", "multiaddr"}
    assert heavy.isdisjoint(loaded)
