"""The documents say what is so: settings, commands, links, names of modules and codes of errors."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from apps.api.errors import CODES
from apps.datasets.access.errors import AccessDenied
from apps.live import protocol
from apps.progress.errors import ProgressError
from scripts import settings_table
from tests.environment import variables
from tests.repository import ROOT, files

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "client" / "README.md"])
# The changelog also names what is gone.
NOW = [page for page in PAGES if page.name != "CHANGELOG.md"]
each_page = pytest.mark.parametrize("page", NOW, ids=lambda page: str(page.relative_to(ROOT)))


def code_in(page: Path) -> list[str]:
    """Return what a page shows as code: each line of a block, and each span between backticks."""
    text = page.read_text()
    fenced = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
    lines = [line for block in fenced.findall(text) for line in block.splitlines()[1:-1]]
    return lines + [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", fenced.sub("", text))]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, made as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_table_of_settings_is_up_to_date() -> None:
    page = settings_table.PAGE.read_text()
    assert settings_table.BEGIN + settings_table.table() + settings_table.END in page, "run `make docs`"


def test_every_setting_is_used() -> None:
    """A setting is read by the apps, or is one of Django's or of a package."""
    settings = ROOT / "progress_site" / "settings.py"
    own = settings.read_text().partition("# --- This product")[2]
    used = {name for path in ROOT.glob("apps/**/*.py") for name in re.findall(r"settings\.([A-Z_]+)", path.read_text())}
    names = set(re.findall(r"^([A-Z_]+)\b.* = ", own, re.MULTILINE))
    assert names
    assert names - used == set(), "no module of apps/ reads these settings"


@each_page
def test_variables_in_the_docs_are_read(page: Path) -> None:
    """Names that are set on a command line, or that stand alone, are those of a program of ours."""
    programs = [*files(""), *files(".py")]
    known = variables() | {
        name for path in programs for name in re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", path.read_text())
    }
    written = {name for code in code_in(page) for name in re.findall(r"\b([A-Z]+(?:_[A-Z]+)*)=", code)}
    written |= {code for code in code_in(page) if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", code)}
    assert written - known == set()


def test_client_variables_are_in_its_docs() -> None:
    names = {name for name in variables() if name.startswith("DATASET_PROGRESS_")}
    assert names
    page = (ROOT / "client" / "README.md").read_text()
    assert {name for name in names if name not in page} == set()


@each_page
def test_make_targets_in_the_docs_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for code in code_in(page) for name in re.findall(r"\bmake ([a-z][a-z-]*)", code)}
    assert named - targets == set()


@each_page
def test_commands_in_the_docs_exist(page: Path) -> None:
    commands = get_commands()
    for code in code_in(page):
        for name, rest in re.findall(r"manage\.py (\w+)([^`|]*)", code):
            assert name in commands, code
            parser = load_command_class(str(commands[name]), name).create_parser("manage.py", name)
            options = set(re.findall(r"(?<!\S)--[a-z][\w-]*", rest.partition("#")[0]))
            assert options - set(parser._option_string_actions) == set(), code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        leads_to = (page.parent / path).resolve() if path else page
        assert leads_to.exists(), target
        assert not anchor or anchor in anchors(leads_to), target


@each_page
def test_files_in_the_docs_exist(page: Path) -> None:
    rooms = "apps|client|docs|progress_site|requirements|scripts|static|templates|tests"
    for code in code_in(page):
        for path in re.findall(rf"(?<![\w./…-])((?:{rooms})/[\w./-]*[\w/])", code):
            assert (ROOT / path).exists() or (page.parent / path).exists(), path


@each_page
def test_modules_in_the_docs_exist(page: Path) -> None:
    for code in code_in(page):
        for dotted in re.findall(r"(?<![\w./-])((?:apps|progress_site|tests|scripts)(?:[.:]\w+)+)", code):
            assert exists(dotted.replace(":", ".")), dotted


def exists(dotted: str) -> bool:
    """Return whether a module or a folder has this name, or something that a module defines."""
    *parents, last = parts = dotted.split(".")
    if ROOT.joinpath(*parts).is_dir() or ROOT.joinpath(*parts).with_suffix(".py").is_file():
        return True
    module = ROOT.joinpath(*parents)
    source = module.with_suffix(".py") if module.with_suffix(".py").is_file() else module / "__init__.py"
    return source.is_file() and bool(
        re.search(rf"^(?:class |def |async def )?{last}\b|^\w.*import.*\b{last}\b", source.read_text(), re.M)
    )


def test_documents_named_in_the_code_exist() -> None:
    for path in files(".py", ".js", ".css", ".html", ".toml", ".sh", ""):
        for name in re.findall(r"\b((?:docs|client)/[\w-]+\.(?:md|svg|png))\b", path.read_text()):
            assert (ROOT / name).is_file(), f"{name} in {path}"


def test_messages_in_troubleshooting_are_those_of_the_program() -> None:
    """What stands between backticks or in italics in the first column is said somewhere, but for what varies."""
    programs = [path for path in files(".py", ".js", ".html") if not path.is_relative_to(ROOT / "tests")]
    said = " ".join(" ".join(re.sub(r'"\s+f?"', "", path.read_text()).split()) for path in programs)
    cells = re.findall(r"^\| (.+?) \| ", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    messages = [
        message for cell in cells for pair in re.findall(r"`([^`]+)`|\*([^*]+)\*", cell) for message in pair if message
    ]
    parts = [part.strip(" .,") for message in messages for part in re.split(r"…|\d+(?: s$)?", message) if part]
    assert len(parts) > 10
    assert [part for part in parts if part not in said] == []


def codes() -> set[str]:
    """Return every code that a refusal of the API can carry: by status, of a refusal of the services, or by name."""
    found = set(CODES.values())
    refusals: list[type[AccessDenied | ProgressError]] = [AccessDenied, ProgressError]
    while refusals:
        refusal = refusals.pop()
        refusals += refusal.__subclasses__()
        if refusal not in (AccessDenied, ProgressError):  # the bases are never raised themselves
            found.add(refusal.code)
    for path in ROOT.glob("apps/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "error":
                found |= {
                    str(one.value.value)
                    for one in node.keywords
                    if one.arg == "code" and isinstance(one.value, ast.Constant)
                }
    return found


def test_codes_in_the_docs_are_those_that_are_raised() -> None:
    section = (ROOT / "docs" / "api.md").read_text().partition("\n## Errors\n")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| \d{3} \| `(\w+)` \|", section, re.MULTILINE)
    assert len(documented) == len(set(documented))
    assert set(documented) == codes()


def test_close_codes_in_the_docs_are_those_of_the_sockets() -> None:
    own = {value for name, value in vars(protocol).items() if name.startswith("CLOSE_")}
    written = {int(code) for code in re.findall(r"\b4\d{3}\b", (ROOT / "docs" / "api.md").read_text())}
    assert own
    assert written == own


def test_refusals_of_the_services_are_raised() -> None:
    source = "\n".join(path.read_text() for path in ROOT.glob("apps/**/*.py"))
    refusals = [one.__name__ for one in ProgressError.__subclasses__()]
    assert refusals
    assert [name for name in refusals if not re.search(rf"\b{name}\(", source.replace(f"class {name}(", ""))] == []
