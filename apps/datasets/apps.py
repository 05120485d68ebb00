from django.apps import AppConfig


class DatasetsConfig(AppConfig):
    name = "apps.datasets"

    def ready(self) -> None:
        from django.db.backends.signals import connection_created

        from apps.core.database_version import check_migrations

        connection_created.connect(check_migrations, dispatch_uid="core.database_version")
