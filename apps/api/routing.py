"""The router of every operation. Ninja wants those of one path on one router."""

from __future__ import annotations

from typing import Final

from ninja import Router

from .auth import READ, RequestThrottle

router: Final = Router(auth=READ, throttle=[RequestThrottle()])
