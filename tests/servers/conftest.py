"""The server and the dataset of the live tests."""

from __future__ import annotations

from tests.live.conftest import dataset, server

__all__ = ["dataset", "server"]
