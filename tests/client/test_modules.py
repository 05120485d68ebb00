"""The client's modules import each other without a circle, and use only each other's public names."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import dataset_progress
import pytest

FOLDER = Path(dataset_progress.__file__).parent
MODULES = sorted(FOLDER.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(FOLDER.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


def imports(path: Path) -> list[tuple[str, str]]:
    """Return (module, name) for each name that is imported from another module of the package, even for types alone."""
    found = []
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            source = ".".join(filter(None, [package, node.module])) if node.level else node.module or ""
            found += [(source, alias.name) for alias in node.names if source.partition(".")[0] == "dataset_progress"]
    return found


def test_no_circle() -> None:
    graph = {
        name_of(path): {f"{source}.{name}" if f"{source}.{name}" in NAMES else source for source, name in imports(path)}
        for path in MODULES
    }
    # `dataset_progress/__init__.py` imports the modules, and they name the package to import each other.
    del graph["dataset_progress"]
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_private_name_of_another_module(path: Path) -> None:
    own = {"self", "cls", "os", "sys"}  # `os._exit` and `sys._current_exceptions` are public
    reached = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in own)
    ]
    imported = [name for source, name in imports(path) if name.startswith("_") and f"{source}.{name}" not in NAMES]
    allowed = {"dataset_progress._run": ["run._session"]}  # `session_of` is how the others reach it
    assert (reached, imported) == (allowed.get(name_of(path), []), [])


def test_all_names_what_users_import() -> None:
    public = {name for name in vars(dataset_progress) if not name.startswith("_")} - {
        "annotations",
        "integrations",
        "tqdm",
    }
    assert public == set(dataset_progress.__all__)
