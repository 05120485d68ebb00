from django.apps import AppConfig
from django.core.checks import register


class PipelineConfig(AppConfig):
    name = "apps.pipeline"

    def ready(self) -> None:
        from django.db.models.signals import pre_delete

        from .checks import check_settings
        from .receivers import on_delete

        pre_delete.connect(on_delete, sender="datasets.Dataset", dispatch_uid="pipeline.delete")
        register(check_settings)
