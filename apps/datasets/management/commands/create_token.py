"""`manage.py create_token NAME [--datasets 'team-a-*'] [--read-only] [--days N] [--user NAME]`"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from apps.datasets.tokens import issue


class Command(BaseCommand):
    help = "Make a token for a pipeline or another front end. Its secret is printed once and stored nowhere."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="what it is for")
        parser.add_argument(
            "--datasets", default="*", metavar="IDS",
            help="the ids that it may touch, divided by commas; team-a-* stands for all that begin so; default: *",
        )  # fmt: skip
        parser.add_argument("--read-only", action="store_true", help="it may see and not report")
        parser.add_argument("--days", type=int, metavar="N", help="how long it holds; default: until it is revoked")
        parser.add_argument("--user", metavar="NAME", help="it may what this account may; default: all that IDS cover")

    def handle(self, *args: Any, **options: Any) -> None:
        user = None
        if options["user"] is not None:
            user = get_user_model()._default_manager.filter(username=options["user"]).first()
            if user is None:
                raise CommandError(f"There is no account {options['user']}.")
        if options["days"] is not None and not 1 <= options["days"] <= 36_500:
            raise CommandError("A token holds for 1 to 36500 days.")
        try:
            _, secret = issue(
                options["name"],
                user=user,
                datasets=options["datasets"],
                can_write=not options["read_only"],
                days=options["days"],
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write(secret)
