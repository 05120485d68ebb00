from django.apps import AppConfig


class LiveConfig(AppConfig):
    name = "apps.live"

    def ready(self) -> None:
        from apps.progress.signals import progress_changed

        from .receivers import on_change

        progress_changed.connect(on_change, dispatch_uid="live.doorbell")
