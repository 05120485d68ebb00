"""Send one message over one channel. What it raises says whether to try again."""

from __future__ import annotations

import smtplib
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email
from standardwebhooks import Webhook

from .allowed_addresses import AddressRefused, limited
from .messages import Message
from .models import Subscription

# The services of Apprise that only speak HTTP, through urllib3, and run nothing on this machine.
CHAT_SCHEMES: Final = frozenset(
    {
        "discord", "gchat", "gotify", "gotifys", "googlechat", "line", "matrix", "matrixs", "mmost", "mmosts",
        "msteams", "ntfy", "ntfys", "opsgenie", "pagerduty", "pbul", "pover", "rocket", "rockets", "slack",
        "teams", "tgram", "twist", "webex", "wxteams", "workflow", "workflows", "zulip",
    }
)  # fmt: skip
MOST_BYTES: Final = 64_000
READ_SECONDS: Final = 10.0


class NotSent(Exception):
    """The message was not sent, or may not have been. ``is_final``: another attempt would be refused as well."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


def check_address(channel: str, address: str) -> None:
    """Raise `ValidationError` unless an address has the form that its channel needs.

    Whether it may be sent to is told by a test.
    """
    try:
        match channel:
            case Subscription.Channel.WEBHOOK if not _is_url(address):
                raise ValidationError("Write it as https://example.org/hook")
            case Subscription.Channel.CHAT:
                chat_service(address)
            case Subscription.Channel.EMAIL:
                validate_email(address)
    except ValidationError as wrong:
        raise ValidationError({"address": wrong.messages}) from None
    except NotSent as refused:
        raise ValidationError({"address": str(refused)}) from None


def _is_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return is_url and address.isascii() and address.isprintable() and " " not in address


def send(subscription: Subscription, message: Message) -> None:
    """Send a message, in at most `TOTAL_SECONDS`. Raises `NotSent`. No address and no secret is in what it raises."""
    match subscription.channel:
        case Subscription.Channel.PAGE:
            return  # pages ask for it
        case Subscription.Channel.EMAIL:
            _send_email(subscription, message)
        case Subscription.Channel.CHAT:
            _send_chat(subscription, message)
        case _:
            _send_webhook(subscription, message)


def _send_email(subscription: Subscription, message: Message) -> None:
    address = subscription.address or (subscription.user.email if subscription.user else "")
    if not address:
        raise NotSent("The account has no email address.", is_final=True)
    if settings.MAILERS["default"]["BACKEND"].endswith(".dummy.EmailBackend"):
        raise NotSent("This site sends no email: MAIL_HOST is not set.", is_final=True)
    domain = urlsplit(settings.SITE_URL).hostname or "dataset-progress.invalid"
    email = EmailMessage(
        f"[Dataset Progress] {message.title}", f"{message.text}\n\n{message.link}".rstrip() + "\n", to=[address],
        headers={"Message-ID": f"<{message.key}@{domain}>"},
    )  # fmt: skip
    try:
        email.send()
    except smtplib.SMTPRecipientsRefused:
        raise NotSent("The mail server refuses the recipient.", is_final=True) from None
    except (smtplib.SMTPException, OSError) as error:
        raise NotSent(f"The mail server cannot be reached, or refuses: {type(error).__name__}.") from None


def _send_chat(subscription: Subscription, message: Message) -> None:
    service = chat_service(subscription.address)
    try:
        with limited():
            sent = service.notify(title=message.title, body=f"{message.text}\n{message.link}".rstrip())
    except Exception as error:
        raise NotSent(f"The chat service could not be told: {type(error).__name__}.") from None
    if not sent:
        raise NotSent("The chat service refused the message, or cannot be reached.")


def chat_service(address: str) -> Any:
    """Return the service at an address of Apprise. Raises `NotSent` for an address that is none, or is not allowed."""
    if address.partition(":")[0].lower() not in CHAT_SCHEMES:
        raise NotSent("This service cannot be used.", is_final=True)
    import apprise  # only here: its services take long to import

    service = apprise.Apprise.instantiate(address, suppress_exceptions=True)
    if not isinstance(service, apprise.NotifyBase):
        raise NotSent("The address is not complete.", is_final=True)
    return service


def _send_webhook(subscription: Subscription, message: Message) -> None:
    now = datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "dataset-progress",
        "webhook-id": message.key,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(subscription.secret).sign(message.key, now, message.json),
    }
    timeout = urllib3.Timeout(connect=READ_SECONDS, read=READ_SECONDS)
    try:
        with limited(), urllib3.PoolManager(retries=False, timeout=timeout) as pool:
            answer = pool.request(
                "POST", subscription.address, body=message.json.encode(), headers=headers, redirect=False,
                preload_content=False,
            )  # fmt: skip
            answer.read(MOST_BYTES)
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise NotSent(_reason(error)) from None
    if 300 <= answer.status < 400:
        raise NotSent(f"It redirects ({answer.status}). Give the address where it leads.", is_final=True)
    if answer.status == 410:
        raise NotSent("It is gone (410).", is_final=True)
    if answer.status >= 400:
        raise NotSent(f"It answers {answer.status}.")


def _reason(error: BaseException) -> str:
    """Return why a request failed, without its address."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    if any(isinstance(cause, AddressRefused) for cause in causes):
        return "Its address is in no public network, and WEBHOOK_PRIVATE_NETWORKS does not name it."
    if any(isinstance(cause, urllib3.exceptions.TimeoutError) for cause in causes):
        return "It did not answer in time."
    return f"It cannot be reached: {type(causes[-1]).__name__}."
