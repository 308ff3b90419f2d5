"""The table of rooms in docs/architecture.md, and other rules that concern all modules."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import cirray

PACKAGE = Path(cirray.__file__).parent
REPOSITORY = Path(__file__).parents[1]

# A room of the library imports only from rooms before its own, and from itself.
ROOMS = (
    "errors",
    "console",
    "storage",
    "config",
    "data",
    "models",
    "cluster",
    "features",
    "evaluation",
    "training",
    "index",
    "client",
)
# They import rooms. No room imports them, and they do not import each other.
VISITORS = ("interop", "study", "capacity", "demo", "start")
# The packages beside the library use it and themselves; jobs also use the other two. Nothing imports jobs.
PACKAGES = {"serve": (), "tuning": (), "jobs": ("serve", "tuning")}
# Rooms that may use Ray.
RAY_ROOMS = {"cluster", "features", "training", "index"}
LIGHT_ROOMS = {"errors", "console", "storage", "config", "data", "client"}

Trees = Mapping[str, ast.Module]
Edges = Mapping[str, set[str]]


def read_modules() -> dict[str, ast.Module]:
    """Returns every module of cirray, serve, tuning and jobs by its dotted name, parsed."""
    found = {}
    for folder in (PACKAGE, *(REPOSITORY / name for name in PACKAGES)):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def running_nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """Walks a module without its `if TYPE_CHECKING:` blocks, which never run."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        yield node
        for child in ast.iter_child_nodes(node):
            is_guard = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
            pending += child.orelse if is_guard and isinstance(child, ast.If) else [child]


def imported_names(tree: ast.Module) -> set[str]:
    """Returns the dotted names that a module imports anywhere, at its top or inside a function."""
    found: set[str] = set()
    for node in running_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def import_edges(trees: Trees) -> dict[str, set[str]]:
    """Returns which of our modules each module imports."""
    edges: dict[str, set[str]] = {}
    for module, tree in trees.items():
        names = imported_names(tree)
        direct = {name if name in trees else name.rpartition(".")[0] for name in names}
        edges[module] = {name for name in direct if name in trees} - {module}
    return edges


def room_of(module: str) -> str:
    """Returns a module's room: "data" of cirray.data.formats.cirr, "serve" of serve.app, "" of cirray itself."""
    package, _, inner = module.partition(".")
    return inner.split(".")[0] if package == "cirray" else package


def allowed_rooms(room: str) -> set[str]:
    """Returns the rooms that a room may import from."""
    if room in ROOMS:
        return set(ROOMS[: ROOMS.index(room) + 1])
    if room in VISITORS:
        return {*ROOMS, room}
    return {*ROOMS, *VISITORS, room, *PACKAGES[room]}


def wrong_imports(edges: Edges) -> list[str]:
    """Returns the imports that the table of rooms does not allow. `cirray` itself only holds `load` and a version."""
    return [
        f"{module} imports {other}"
        for module, others in edges.items()
        for other in sorted(others)
        if room_of(module) and room_of(other) and room_of(other) not in allowed_rooms(room_of(module))
    ]


def reached(start: str, edges: Edges) -> set[str]:
    """Returns all modules that a module imports, directly or not, itself included."""
    found: set[str] = set()
    pending = [start]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += edges[name]
    return found


def cyclic(edges: Edges) -> set[str]:
    """Returns the modules that are part of a cycle of imports, or import one that is."""
    left = {name: set(needs) for name, needs in edges.items()}
    while True:
        free = {name for name, needs in left.items() if not needs & left.keys()}
        if not free:
            return set(left)
        left = {name: needs for name, needs in left.items() if name not in free}


def test_imports_follow_the_table_of_rooms() -> None:
    wrong = wrong_imports(import_edges(read_modules()))
    assert not wrong, "\n".join(wrong)


def test_no_cycles_among_modules() -> None:
    # A package's own __init__ may re-export what is inside it.
    edges = import_edges(read_modules())
    packages = {name for name in edges if any(other.startswith(f"{name}.") for other in edges)}
    assert not cyclic({name: needs - packages for name, needs in edges.items()})


def test_the_table_lists_every_room() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {*ROOMS, *VISITORS} - {"errors"}


def test_the_library_has_two_loose_modules() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "errors.py"}


def test_the_checks_of_imports_can_fail() -> None:
    sources = {
        "cirray.data.x": "def f():\n    from cirray.training.loop import Loop\n",
        "cirray.training.loop": "import cirray.data.x",
        "tuning.x": "import serve.app",
        "serve.app": "from cirray.data import x",
    }
    edges = import_edges({name: ast.parse(source) for name, source in sources.items()})
    assert wrong_imports(edges) == ["cirray.data.x imports cirray.training.loop", "tuning.x imports serve.app"]
    assert cyclic(edges) == set(sources)
    assert reached("cirray.data.x", edges) == {"cirray.data.x", "cirray.training.loop"}


def test_ray_lives_in_few_rooms() -> None:
    trees = read_modules()
    users = {name for name, tree in trees.items() if any(used.split(".")[0] == "ray" for used in imported_names(tree))}
    rooms = {room_of(name) for name in users if room_of(name) in (*ROOMS, *VISITORS)}
    assert rooms <= RAY_ROOMS
    assert "cluster" in rooms  # the check sees imports inside functions


@pytest.mark.parametrize("light", sorted(LIGHT_ROOMS | {"models"}))
def test_light_rooms_reach_no_ray_even_indirectly(light: str) -> None:
    trees = read_modules()
    edges = import_edges(trees)
    users = {name for name, tree in trees.items() if any(used.split(".")[0] == "ray" for used in imported_names(tree))}
    for start in trees:
        if room_of(start) == light and start.startswith("cirray."):
            assert not reached(start, edges) & users, start


def test_the_platform_folder_is_no_package() -> None:
    assert PACKAGE.parent.name == "platform"
    assert not (PACKAGE.parent / "__init__.py").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "import cirray; assert cirray.load and cirray.__version__",
        "import cirray.config.recipe, cirray.config.command_line, cirray.errors, cirray.storage.files",
        "import cirray.data.load",
        "import cirray.evaluation.ranked_lists, cirray.evaluation.ranking_files",
        "import cirray.client",
        "import cirray.console.progress",
    ],
)
def test_importing_loads_neither_torch_nor_ray(statement: str) -> None:
    heavy = "{'torch', 'ray', 'open_clip', 'torchvision'} & set(sys.modules)"
    code = f"import sys\n{statement}\nassert not {heavy}, {heavy}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_ingress_needs_no_torch() -> None:
    code = "import sys, serve.app\nassert not {'torch', 'open_clip'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr


def test_public_names() -> None:
    assert cirray.__all__ == ["__version__", "load"]
    assert all(hasattr(cirray, name) for name in cirray.__all__)
    assert cirray.__version__.count(".") == 2
