"""The application, for any ASGI server: pages and the API over HTTP, live updates over WebSocket."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "progress_site.settings")
http = get_asgi_application()  # before anything that needs the models

from channels.routing import ProtocolTypeRouter  # noqa: E402

from apps.live.origins import same_origins_only  # noqa: E402
from apps.live.routing import sockets  # noqa: E402
from progress_site.servers.threads import LastingThreads  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": LastingThreads(http),
        "websocket": same_origins_only(sockets),
    }
)
