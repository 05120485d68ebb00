"""`python -m progress_site.serve`: Daphne, with its options, on uvloop's event loop.

Twisted adds a watcher to the loop's selector and takes it out again for every frame that it sends; uvloop does that,
and the rest of the loop's work, in C.
"""

import asyncio

import uvloop

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # before Daphne makes its loop, when it is imported

from daphne.cli import CommandLineInterface  # noqa: E402

if __name__ == "__main__":
    CommandLineInterface.entrypoint()
