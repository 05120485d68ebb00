from django.apps import AppConfig
from django.core.checks import register


class DatasetsConfig(AppConfig):
    name = "apps.datasets"

    def ready(self) -> None:
        from django.db.backends.signals import connection_created

        from apps.core.database_version import check_migrations

        from .checks import check_visibility

        register(check_visibility, deploy=True)
        connection_created.connect(check_migrations, dispatch_uid="core.database_version")
