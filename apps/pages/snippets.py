"""Code to paste into a pipeline so that it reports, with this server's address and the dataset's ID filled in."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from django.http import HttpRequest
from django.urls import reverse

from .client import client_wheel

PLACEHOLDER = "YOUR_TOKEN"


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of code to copy. ``slug`` is used in element IDs."""

    slug: str
    title: str
    code: str


def address_of(request: HttpRequest) -> str:
    """Return the address of this server as the client of ``request`` reaches it."""
    return request.build_absolute_uri("/").rstrip("/")


def _commented(text: str) -> str:
    return "".join(line if line.startswith("#") else f"# {line}" for line in text.splitlines(keepends=True))


def _install(address: str, extras: str = "") -> str:
    """Return the shell command that installs the client from ``address``, or a comment if it is not built there."""
    wheel = client_wheel()
    if wheel is None:
        return "# This server does not offer the client yet: run `manage.py build_client` on it.\n"
    url = address + reverse("client-wheel", args=[wheel.name])
    return f"pip install {shlex.quote(f'dataset-progress{extras} @ {url}')}\n"


def snippets(address: str, dataset_id: str, secret: str = "") -> list[Snippet]:
    """Return one snippet for each way to report on ``dataset_id`` to ``address``.

    Without a ``secret`` the snippets hold a placeholder.
    """
    token = secret or PLACEHOLDER
    report = json.dumps({"state": "indexing", "current": 45, "total": 100, "message": "Indexing samples... 45/100"})
    where = f"export DATASET_PROGRESS_URL={shlex.quote(address)}\nexport DATASET_PROGRESS_TOKEN={token}\n"
    return [
        Snippet("python", "Python", f"""\
{_commented(_install(address) + where)}
from dataset_progress import track

for item in track(items, dataset="{dataset_id}"):
    ...
"""),
        Snippet("tqdm", "tqdm", f"""\
{_commented(_install(address, "[tqdm]") + where)}
from dataset_progress.tqdm import tqdm  # in place of: from tqdm import tqdm

for item in tqdm(items, desc="Indexing", dataset="{dataset_id}"):
    ...
"""),
        Snippet("curl", "curl", f"""\
curl -X POST {shlex.quote(f"{address}/api/datasets/{dataset_id}/progress")} \\
  -H 'Authorization: Bearer {token}' \\
  -H 'Content-Type: application/json' \\
  -d '{report}'
"""),
        Snippet("shell", "Command line", _install(address, "[cli,websocket]") + where + f"""\
cat rows.csv | dataset-progress pipe {dataset_id} --total 5000 > /dev/null
dataset-progress watch {dataset_id}
dataset-progress report {dataset_id} --state indexing --current 45 --total 100
"""),
    ]  # fmt: skip
