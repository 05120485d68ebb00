from django.apps import AppConfig


class ProgressConfig(AppConfig):
    name = "apps.progress"

    def ready(self) -> None:
        from django.db.models.signals import pre_delete

        from .receivers import on_delete

        pre_delete.connect(on_delete, sender="datasets.Dataset", dispatch_uid="progress.delete")
