"""What pages and their script share: the numbers that the server knows, and the addresses of the modules."""

from __future__ import annotations

from functools import cache

from django import template
from django.conf import settings
from django.templatetags.static import static
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from apps.pages import link

register = template.Library()


@register.simple_tag
def link_attributes(*, polls_only: bool = False) -> SafeString:
    """Return the `data-` attributes of `#live` that do not depend on the dataset."""
    return format_html_join(" ", 'data-{}="{}"', link.attributes(polls_only=polls_only).items())


@register.simple_tag
def preload_modules() -> SafeString:
    """Return links with which a browser fetches all modules at once, instead of each after the one that imports it."""
    addresses = ((static(f"js/{name}"),) for name in _modules())
    return format_html_join("\n    ", '<link rel="modulepreload" href="{}">', addresses)


@cache
def _modules() -> list[str]:
    return sorted(path.name for path in (settings.BASE_DIR / "static" / "js").glob("*.js"))
