"""Log-ins that failed lately. In the database, because all web processes count them together."""

from __future__ import annotations

from django.db import models


class FailedLogIn(models.Model):
    """A name and a password that were refused."""

    account = models.CharField(max_length=64, help_text="The hash of the name: some type their password there.")
    address = models.CharField(max_length=64, help_text="The client's address; of IPv6, its /64 network.")
    at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["account", "at"], name="failed_login_account"),
            models.Index(fields=["address", "at"], name="failed_login_address"),
            models.Index(fields=["at"], name="failed_login_at"),
        ]

    def __str__(self) -> str:
        return f"{self.address} at {self.at}"
