from django.apps import AppConfig
from django.core.checks import register


class LiveConfig(AppConfig):
    name = "apps.live"

    def ready(self) -> None:
        from apps.progress.signals import progress_changed

        from .checks import check_sockets_per_address
        from .receivers import on_change

        register(check_sockets_per_address, deploy=True)
        progress_changed.connect(on_change, dispatch_uid="live.doorbell")
