"""Refuse a database whose tables another version of the program has made, and that cannot be migrated."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder


class UnknownMigration(ImproperlyConfigured):
    """The database records a migration that this version does not have."""


_checked: set[str] = set()


def check_migrations(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Receive `connection_created`: check each database at the first connection of this process.

    Raises `UnknownMigration`, with the connection closed, so that the next one is checked as well.
    """
    name = str(connection.settings_dict["NAME"])
    if name in _checked:
        return
    for label, migration in MigrationRecorder(connection).applied_migrations():
        if is_unknown(label, migration):
            connection.close()
            raise UnknownMigration(
                f"The database {name} has the migration {label}.{migration}, which this version does not have. "
                "If it was made before release 0.1.0, move or delete it, and start again."
            )
    _checked.add(name)


def is_unknown(label: str, migration: str) -> bool:
    """Whether an app of ours has no such migration. Apps of others clean up after themselves."""
    config = next((config for config in apps.get_app_configs() if config.label == label), None)
    if config is None or not config.name.startswith("apps."):
        return False
    return find_spec(f"{config.name}.migrations.{migration}") is None
