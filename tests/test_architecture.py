"""The rules of the design that no single module can break without somebody noticing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cirray

PACKAGE = Path(cirray.__file__).parent
REPOSITORY = Path(__file__).parents[1]

# A module may import only from layers before its own, or from its own package. The longest matching prefix decides.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "files", "bars", "backbones", "recipes"),
    ("places", "metrics"),
    ("config", "filters"),
    ("cli", "provenance", "api"),
    ("capacity",),
    ("client", "feedback"),
    ("data", "demo"),
    ("cuttext", "losses", "gradcache", "ranking", "combiner", "tables", "encoder_folder", "bundle_folder"),
    ("encoders", "recall", "listed_recall"),
    ("backbone",),
    ("features",),
    ("workers", "progress", "runtime"),
    ("training",),
    ("evaluation", "sheets"),
    ("bundle", "output"),
    ("pipeline", "scoring", "clip4cir"),
    ("submission",),
    ("index", "study"),
)
# What comes later by the design (index, serving) may use all of these, and none of these may use it.
LATER = len(LAYERS)

MAY_IMPORT_RAY = {"index.build", "workers", "progress", "runtime", "features.fill", "training.stages"}
MODEL_CODE = ("encoders", "backbone", "cuttext", "combiner", "losses", "gradcache", "ranking", "recall", "tables")


def modules() -> dict[str, ast.Module]:
    """Returns every module of the library by its dotted name inside it, parsed."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def without_type_checking(tree: ast.Module) -> Iterator[ast.AST]:
    """Walks a module without its `if TYPE_CHECKING:` blocks, which never run."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        yield node
        for child in ast.iter_child_nodes(node):
            is_guard = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
            pending += child.orelse if is_guard and isinstance(child, ast.If) else [child]


def imports(tree: ast.Module) -> set[str]:
    """Returns the dotted names that a module imports anywhere, at its top or inside a function."""
    found: set[str] = set()
    for node in without_type_checking(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer(module: str) -> int:
    """Returns the layer of a module of the library."""
    first = module.split(".")[0]
    return next((number for number, names in enumerate(LAYERS) if first in names), LATER)


def library_imports(tree: ast.Module, known: set[str]) -> set[str]:
    """Returns which modules of the library a module imports."""
    found = set()
    for name in imports(tree):
        if name.split(".")[0] != "cirray":
            continue
        inner = name.removeprefix("cirray").removeprefix(".")
        found.add(inner if inner in known else inner.rpartition(".")[0])
    return found - {""}


def test_imports_go_one_way() -> None:
    trees = modules()
    wrong = [
        f"{module} (layer {layer(module)}) imports {other} (layer {layer(other)})"
        for module, tree in trees.items()
        if module  # the package itself only loads a bundle, inside a function
        for other in library_imports(tree, set(trees))
        if other.split(".")[0] != module.split(".")[0]
        and layer(other) >= layer(module)
        and not (layer(module) == layer(other) == LATER)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_cycles_among_modules() -> None:
    trees = modules()
    left = {name: library_imports(tree, set(trees)) - {name} for name, tree in trees.items() if name}
    while left:
        free = {name for name, needs in left.items() if not needs & left.keys()}
        assert free, f"these modules import each other: {sorted(left)}"
        left = {name: needs for name, needs in left.items() if name not in free}


def test_every_layer_exists() -> None:
    names = {name.split(".")[0] for name in modules()}
    folders = {path.name for path in PACKAGE.iterdir()}
    assert not [name for names_ in LAYERS for name in names_ if name not in names | folders]


@pytest.mark.parametrize("library", ["ray"])
def test_ray_lives_in_few_modules(library: str) -> None:
    users = {name for name, tree in modules().items() if any(i.split(".")[0] == library for i in imports(tree))}
    users = {name for name in users if layer(name) < LATER}
    assert users <= MAY_IMPORT_RAY
    assert "workers" in users  # the check sees imports inside functions


def test_model_code_and_data_reach_no_ray_even_indirectly() -> None:
    trees = modules()
    direct = {name: library_imports(tree, set(trees)) for name, tree in trees.items()}
    for start in trees:
        if start.split(".")[0] not in {*MODEL_CODE, "data", "config", "cli", "errors", "files"}:
            continue
        reached, pending = set(), [start]
        while pending:
            name = pending.pop()
            if name not in reached:
                reached.add(name)
                pending += direct[name]
        assert not reached & MAY_IMPORT_RAY, f"{start} reaches {reached & MAY_IMPORT_RAY}"


def test_the_check_of_layers_can_fail() -> None:
    tree = ast.parse("def f():\n    from cirray.training.loop import Loop\nimport cirray.config\n")
    assert library_imports(tree, {"training.loop", "config"}) == {"training.loop", "config"}
    assert layer("training.loop") > layer("encoders") > layer("data.cirr") > layer("config") > layer("errors")


def test_the_platform_folder_is_no_package() -> None:
    assert PACKAGE.parent.name == "platform"
    assert not (PACKAGE.parent / "__init__.py").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "import cirray; assert cirray.load and cirray.__version__",
        "import cirray.config, cirray.cli, cirray.errors, cirray.files",
        "import cirray.data; cirray.data.load_dataset",
        "import cirray.listed_recall, cirray.data.rankings",
        "import cirray.client",
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
