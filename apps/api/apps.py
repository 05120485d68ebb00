from django.apps import AppConfig
from django.core.checks import register


class ApiConfig(AppConfig):
    name = "apps.api"

    def ready(self) -> None:
        from .checks import check_settings

        register(check_settings)
