"""Daphne as this site runs it, for the plain recipe, without the limit on messages that wait to be read.

The recipe's reporter sends a thousand messages a second over one socket.
"""

from __future__ import annotations

import sys

from progress_site.servers import daphne

if __name__ == "__main__":
    daphne.MAX_QUEUED_MESSAGES = sys.maxsize
    daphne.main()
