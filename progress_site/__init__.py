"""The site: settings, addresses and servers."""

import os

# Before NumPy is loaded. Its library of linear algebra starts a thread for each core, and they wait for each other in
# busy loops: on a machine with other work, a search for near-duplicates took ten times the processor time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
