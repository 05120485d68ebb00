"""`manage.py create_token NAME [--datasets 'team-a-*'] [--read-only] [--days N] [--user NAME]`"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from apps.datasets.services import issue_token


class Command(BaseCommand):
    help = "Create a token for a pipeline or another front end. Its secret is printed once and stored nowhere."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="what it is for")
        parser.add_argument(
            "--datasets", default="*", metavar="IDS",
            help="IDs that it covers, separated by commas; team-a-* covers all that start with team-a-; default: *",
        )  # fmt: skip
        parser.add_argument("--read-only", action="store_true", help="it may read, but not report")
        parser.add_argument("--days", type=int, metavar="N", help="days until it expires; default: it does not expire")
        parser.add_argument(
            "--user",
            metavar="NAME",
            help="the account whose rights it has; default: all rights on what IDS cover",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = None
        if options["user"] is not None:
            user = get_user_model()._default_manager.filter(username=options["user"]).first()
            if user is None:
                raise CommandError(f"There is no account {options['user']}.")
        if options["days"] is not None and not 1 <= options["days"] <= 36_500:
            raise CommandError("A token is valid for 1 to 36500 days.")
        try:
            _, secret = issue_token(
                options["name"],
                user=user,
                datasets=options["datasets"],
                can_write=not options["read_only"],
                days=options["days"],
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write(secret)
