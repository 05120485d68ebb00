from django.apps import AppConfig


class ProgressConfig(AppConfig):
    name = "apps.progress"

    def ready(self) -> None:
        from django.db.models.signals import post_save, pre_delete

        from .receivers import on_delete, on_save

        pre_delete.connect(on_delete, sender="datasets.Dataset", dispatch_uid="progress.delete")
        post_save.connect(on_save, sender="datasets.Dataset", dispatch_uid="progress.save")
