from django.apps import AppConfig
from django.core.checks import register


class PipelineConfig(AppConfig):
    name = "apps.pipeline"

    def ready(self) -> None:
        from .checks import check_settings

        register(check_settings)
