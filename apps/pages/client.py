"""The client as a wheel, so that any machine that reaches this server can install what reports to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from django.conf import settings
from flit_core.wheel import make_wheel_in


@dataclass(frozen=True, slots=True)
class Wheel:
    """``name`` is that of the file: pip reads the version from it."""

    name: str
    content: bytes


@cache
def client_wheel() -> Wheel:
    """The wheel of the folder ``client/``, built once in a process."""
    with TemporaryDirectory() as folder:
        path = Path(make_wheel_in(settings.BASE_DIR / "client" / "pyproject.toml", Path(folder)).file)
        return Wheel(path.name, path.read_bytes())
