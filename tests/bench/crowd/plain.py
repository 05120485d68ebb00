"""The peer: the same pages over the plain recipe. A view that is polled reads its row, and each client is in a group.

``PLAIN_DATABASE`` names the SQLite file. A report updates the row, and is sent to the group before it is answered.
"""

from __future__ import annotations

import json
import os
from typing import Any, ClassVar

import django
from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.db import connection, models
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

settings.configure(
    SECRET_KEY="bench", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, USE_TZ=True, INSTALLED_APPS=[],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["PLAIN_DATABASE"],
            "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"},
        }
    },
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"],
)  # fmt: skip
django.setup()


class Progress(models.Model):
    name = models.CharField(max_length=128, unique=True)
    current = models.IntegerField(default=0)
    version = models.IntegerField(default=0)
    message = models.TextField(default="")

    objects: ClassVar[models.Manager[Progress]] = models.Manager()

    class Meta:
        app_label = "plain"

    def __str__(self) -> str:
        return self.name


HEADER = Template(
    '<div id="progress-header" hx-get="/datasets/{{ one.name }}/progress/header/?v={{ one.version }}" '
    'hx-trigger="every 3s">{{ one.current }} <p>{{ one.message }}</p></div>'
)


def header(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(HEADER.render(Context({"one": Progress.objects.get(name=name)})))


@csrf_exempt
def report(request: HttpRequest, name: str) -> HttpResponse:
    sent = json.loads(request.body)
    found, _ = Progress.objects.get_or_create(name=name)
    found.current, found.message, found.version = sent["current"], sent["message"], found.version + 1
    found.save()
    layer = get_channel_layer()
    async_to_sync(layer.group_send)(name, {"type": "progress", "html": HEADER.render(Context({"one": found}))})
    return HttpResponse("{}")


class Watching(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    async def connect(self) -> None:
        self.name = self.scope["url_route"]["kwargs"]["name"]
        await self.channel_layer.group_add(self.name, self.channel_name)
        await self.accept()
        await self.send(text_data="<!-- connected -->" + " " * 100)

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.name, self.channel_name)

    async def progress(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["html"])


urlpatterns = [
    path("datasets/<name>/", header),
    path("datasets/<name>/progress/header/", header),
    path("datasets/<name>/progress/bar/", header),
    path("report/<name>", report),
]
application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([re_path(r"^datasets/(?P<name>[^/]+)/progress/live/$", Watching.as_asgi())]),
    }
)
with connection.schema_editor() as editor:
    if "plain_progress" not in connection.introspection.table_names():
        editor.create_model(Progress)
Progress.objects.get_or_create(name="bench")
connection.close()
