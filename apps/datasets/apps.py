from django.apps import AppConfig
from django.core.checks import register


class DatasetsConfig(AppConfig):
    name = "apps.datasets"

    def ready(self) -> None:
        from django.db.backends.signals import connection_created
        from django.db.models.signals import post_migrate

        from apps.core.database_version import check_migrations

        from .checks import check_visibility
        from .search import create_index
        from .state_counts import create_triggers

        register(check_visibility, deploy=True)
        connection_created.connect(check_migrations, dispatch_uid="core.database_version")
        post_migrate.connect(create_index, sender=self, dispatch_uid="datasets.search")
        post_migrate.connect(create_triggers, sender=self, dispatch_uid="datasets.state_counts")
