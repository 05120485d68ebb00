"""The demo's web process: loads its modules while the data folder is prepared, and serves once its input has ended."""

from __future__ import annotations

import sys
from contextlib import suppress


def main() -> None:
    """Load, wait for the end of the standard input, and serve as the command line says."""
    with suppress(Exception):  # the demo says what is wrong, and this process says so again if it is to serve
        load()
    sys.stdin.buffer.read()
    from progress_site.servers import daphne

    daphne.main()


def load() -> None:
    """Load the server and the views, without a look at the data folder."""
    import django
    from django.urls import get_resolver

    import progress_site.servers.daphne

    django.setup()
    _ = get_resolver().url_patterns, progress_site.servers.daphne


if __name__ == "__main__":
    main()
