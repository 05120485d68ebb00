from django.apps import AppConfig
from django.core.checks import register


class PagesConfig(AppConfig):
    name = "apps.pages"

    def ready(self) -> None:
        from .checks import check_client

        register(check_client, deploy=True)
