"""`make docs`: write the table of settings in docs/deployment.md, from the calls and comments of the settings."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "progress_site" / "settings.py"
PAGE = ROOT / "docs" / "deployment.md"
BEGIN = "<!-- Written by `make docs` from progress_site/settings.py. -->\n\n"
END = "\n<!-- End of what `make docs` writes. -->\n"


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable that the settings read."""

    name: str
    default: str
    description: str


def read_settings() -> list[Setting]:
    """Return the settings in the order of the source. Raises `ValueError` for one without a comment above it."""
    source = SOURCE.read_text()
    calls = [node for node in ast.walk(ast.parse(source)) if _is_read(node)]
    found: dict[str, Setting] = {}
    for call in sorted(calls, key=lambda call: call.lineno):
        name = ast.literal_eval(call.args[0])
        if name not in found:
            description = _comment_above(source.splitlines(), call.lineno)
            if not description:
                raise ValueError(f"{name} needs a comment above it in {SOURCE.name} that says what it is.")
            found[name] = Setting(name, _default(call.args[1]), description)
    return list(found.values())


def _is_read(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether this is a call such as ``env.int("NAME", 5)``."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "env"
        and len(node.args) == 2
    )


def _comment_above(lines: list[str], number: int) -> str:
    """Return the comment that ends on the line above line ``number``, as one line."""
    comment: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.lstrip().startswith("# "):
            break
        comment.insert(0, line.lstrip().removeprefix("# "))
    return " ".join(comment)


def _default(node: ast.expr) -> str:
    """Return a default as a reader of the docs would write it."""
    match node:
        case ast.Constant(value=bool(value)):
            return "on" if value else "off"
        case ast.Constant(value="") | ast.List(elts=[]):
            return "none"
        case ast.Constant(value=float(value)):
            return f"`{value:g}`"
        case ast.Constant(value=str(value) | int(value)):
            return f"`{value}`"
        case ast.List(elts=elements):
            return f"`{','.join(ast.literal_eval(element) for element in elements)}`"
        case ast.Attribute(attr=name):
            return f"`{name}`"
        case ast.Call(args=[ast.BinOp(left=ast.Name(id=folder), right=ast.Constant(value=str(name)))]):
            return f"`{name}`" if folder == "BASE_DIR" else f"`{folder}/{name}`"
    return f"`{ast.unparse(node)}`"


def table() -> str:
    """Return the table in Markdown."""
    rows = [f"| `{one.name}` | {one.default} | {one.description} |\n" for one in read_settings()]
    return "".join(["| variable | default | what it is |\n", "|---|---|---|\n", *rows])


def main() -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + table() + END + after)


if __name__ == "__main__":
    main()
