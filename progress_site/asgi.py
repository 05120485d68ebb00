"""The ASGI application: pages and the API over HTTP, live updates over WebSocket.

Any ASGI server can run it. `progress_site.servers` has the two that it is tuned for.
"""

import gc
import os
import sys

import django

from progress_site.startup import check_services, limit_waiting, one_line_errors, raise_open_files_limit

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "progress_site.settings")
raise_open_files_limit()
# In seconds. A thread that computes lets the event loop run this often; by default, a fifth as often.
sys.setswitchinterval(0.001)
with one_line_errors():
    django.setup()  # before the imports below need the models
    limit_waiting()
    check_services()

from channels.routing import ProtocolTypeRouter
from django.urls import get_resolver

from apps.live.origins import same_origins_only
from apps.live.routing import sockets
from apps.progress import listening
from progress_site.servers.door import Door
from progress_site.servers.handler import Handler
from progress_site.servers.health import SharedHealth
from progress_site.servers.polls import SharedPolls
from progress_site.servers.threads import RequestThreads

listening.note_often()

application = ProtocolTypeRouter(
    {
        "http": SharedPolls(Door(SharedHealth(RequestThreads(Handler().answer)))),
        "websocket": same_origins_only(sockets),
    }
)

# What was loaded stays, so the garbage collector need not look through it while everybody waits for it.
_ = get_resolver().url_patterns  # loads the views
gc.collect()
gc.freeze()
# The rest is looked through after 10,000 new objects, and not after 700 as is usual: a process with 5,000 open pages
# takes 0.76 of a core then, and not 0.97. Closed sockets leave no garbage, so a collection of everything, which stops
# such a process for half a second, is worth it three times less often than usual.
gc.set_threshold(10_000, 10, 30)
