"""The one router: operations of one address have to be of one."""

from __future__ import annotations

from typing import Final

from ninja import Router

from .auth import READ, PerToken

router: Final = Router(auth=READ, throttle=[PerToken()])
