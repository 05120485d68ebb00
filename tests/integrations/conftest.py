"""The libraries are in an environment of their own: without `make test-integrations`, nothing is collected here."""

from __future__ import annotations

import os

from tests.client.conftest import address, server

__all__ = ["address", "server"]

collect_ignore_glob = [] if "INTEGRATIONS_PYTHON" in os.environ else ["test_*.py"]
