"""What to paste into a pipeline so that it reports: filled in with this server's address and a dataset's id."""

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
    """A piece of code to copy. ``slug`` stands in ids."""

    slug: str
    title: str
    code: str


def address_of(request: HttpRequest) -> str:
    """This server, as whoever asks reaches it."""
    return request.build_absolute_uri("/").rstrip("/")


def _commented(text: str) -> str:
    return "".join(f"# {line}\n" for line in text.splitlines())


def snippets(address: str, dataset_id: str, secret: str = "") -> list[Snippet]:
    """One for each way to report on ``dataset_id`` to ``address``; without a ``secret``, a word stands for it."""
    token = secret or PLACEHOLDER
    report = json.dumps({"state": "indexing", "current": 45, "total": 100, "message": "Indexing samples... 45/100"})
    wheel = f"{address}{reverse('client-wheel', args=[client_wheel().name])}"
    where = f"export DATASET_PROGRESS_URL={shlex.quote(address)}\nexport DATASET_PROGRESS_TOKEN={token}\n"

    def first(extras: str = "") -> str:
        """What has to be done in the shell before."""
        return f"pip install {shlex.quote(f'dataset-progress{extras} @ {wheel}')}\n{where}"

    return [
        Snippet("python", "Python", f"""\
{_commented(first())}
from dataset_progress import track

for item in track(items, dataset="{dataset_id}"):
    ...
"""),
        Snippet("tqdm", "tqdm", f"""\
{_commented(first("[tqdm]"))}
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
        Snippet("shell", "Command line", first("[cli,websocket]") + f"""\
dataset-progress report {dataset_id} --state indexing --current 45 --total 100
cat rows.csv | dataset-progress pipe {dataset_id} --total 5000 > /dev/null
dataset-progress watch {dataset_id}
"""),
    ]  # fmt: skip
