"""What to paste into a pipeline so that it reports: filled in with this server's address and a dataset's id."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from django.http import HttpRequest

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


def snippets(address: str, dataset_id: str, secret: str = "") -> list[Snippet]:
    """One for each way to report on ``dataset_id`` to ``address``; without a ``secret``, a word stands for it."""
    token = secret or PLACEHOLDER
    report = json.dumps({"state": "indexing", "current": 45, "total": 100, "message": "Indexing samples... 45/100"})
    environment = f"export DATASET_PROGRESS_URL={shlex.quote(address)}\nexport DATASET_PROGRESS_TOKEN={token}\n"
    return [
        Snippet("python", "Python", f"""\
# pip install ./client   (the folder of this server's sources)
# with DATASET_PROGRESS_URL={address}
# and  DATASET_PROGRESS_TOKEN={token} in the environment
from dataset_progress import track

for item in track(items, dataset="{dataset_id}"):
    ...
"""),
        Snippet("tqdm", "tqdm", f"""\
# in place of: from tqdm import tqdm
from dataset_progress.tqdm import tqdm

for item in tqdm(items, desc="Indexing", dataset="{dataset_id}"):
    ...
"""),
        Snippet("curl", "curl", f"""\
curl -X POST {shlex.quote(f"{address}/api/datasets/{dataset_id}/progress")} \\
  -H 'Authorization: Bearer {token}' \\
  -H 'Content-Type: application/json' \\
  -d '{report}'
"""),
        Snippet("shell", "Command line", environment + f"""\
dataset-progress report {dataset_id} --state indexing --current 45 --total 100
cat rows.csv | dataset-progress pipe {dataset_id} --total 5000 > /dev/null
dataset-progress watch {dataset_id}
"""),
    ]  # fmt: skip
