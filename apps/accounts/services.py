"""Limits of failed log-ins, by account and by address, and their only writer."""

from __future__ import annotations

import hashlib
import unicodedata
from datetime import timedelta
from typing import Final

from django.db.models import Count, Q
from django.utils import timezone

from .models import FailedLogIn

WINDOW: Final = timedelta(minutes=15)
# How many may fail within `WINDOW`. Those of one address on one account count first, so that a stranger elsewhere locks
# nobody out; the account as a whole is limited against many addresses, and an address against many accounts.
MAX_FAILED_BY_BOTH: Final = 10
MAX_FAILED_BY_ADDRESS: Final = 50
MAX_FAILED_BY_ACCOUNT: Final = 100


def may_log_in(name: str, address: str) -> bool:
    """Return whether another log-in may be tried. One query. It says nothing of whether there is such an account."""
    account = _account(name)
    of_account, of_address = Q(account=account), Q(address=address)
    failed = FailedLogIn.objects.filter(of_account | of_address, at__gt=timezone.now() - WINDOW).aggregate(
        both=Count("pk", filter=of_account & of_address),
        account=Count("pk", filter=of_account),
        address=Count("pk", filter=of_address),
    )
    return bool(
        failed["both"] < MAX_FAILED_BY_BOTH
        and failed["account"] < MAX_FAILED_BY_ACCOUNT
        and failed["address"] < MAX_FAILED_BY_ADDRESS
    )


def note_failed_log_in(name: str, address: str) -> None:
    """Count a failed log-in, and forget those before `WINDOW`."""
    now = timezone.now()
    FailedLogIn.objects.filter(at__lte=now - WINDOW).delete()
    FailedLogIn.objects.create(account=_account(name), address=address[:64], at=now)


def note_log_in(name: str, address: str) -> None:
    """Forget the failed log-ins of this address on this account, after one that succeeded."""
    FailedLogIn.objects.filter(account=_account(name), address=address).delete()


def _account(name: str) -> str:
    """Return what stands for an account. Names that differ in case or in form alone count together."""
    return hashlib.sha256(unicodedata.normalize("NFKC", name).casefold().encode(errors="replace")).hexdigest()
