"""System checks of the sockets."""

from __future__ import annotations

from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning  # noqa: A004 -- Django's name for it


def check_sockets_per_address(**kwargs: Any) -> list[CheckMessage]:
    """Warn where one address could open as many sockets as a web process may have open files."""
    _, most = getrlimit(RLIMIT_NOFILE)
    if most == RLIM_INFINITY or 0 < settings.SOCKETS_PER_ADDRESS < most:
        return []
    hint = f"Set SOCKETS_PER_ADDRESS to less than {most}, or raise the limit (systemd: LimitNOFILE=)."
    allowed = f"{settings.SOCKETS_PER_ADDRESS} sockets" if settings.SOCKETS_PER_ADDRESS else "any number of sockets"
    return [Warning(f"One address may open {allowed}, and a process may have {most} open files.", hint, id="live.W001")]
