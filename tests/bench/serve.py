"""Daphne as this site runs it, for the plain recipe, whose reporter sends a thousand messages a second over one socket:
those that it has not come to are not to be taken for an attack.
"""

from __future__ import annotations

import sys

from progress_site.servers import daphne as serve

if __name__ == "__main__":
    serve.MAX_QUEUED_MESSAGES = sys.maxsize
    serve.main()
