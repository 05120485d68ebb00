"""The options of `make demo`, from the environment. Each function raises `ImproperlyConfigured` for a bad value.

Django's settings are not loaded yet: some of them are derived from these options.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from .processes import ROOT

ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 -- compared, not bound to


def address() -> tuple[str, int]:
    """``HOST`` and ``PORT``, after checking that a server can listen there."""
    host, port = os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "8000"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ImproperlyConfigured(f"PORT={port} is not a port: choose one from 1 to 65535.")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise ImproperlyConfigured(f"HOST={host} is not an address of this machine.") from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            raise ImproperlyConfigured(
                f"Port {port} of {host} cannot be used ({error.strerror}): choose another with PORT=."
            ) from None
    return host, int(port)


def data_dir() -> Path:
    """``DATA_DIR``, which is set to `var/` of the project if it is not set."""
    name = os.environ.setdefault("DATA_DIR", str(ROOT / "var"))
    try:
        return Path(name).expanduser().resolve()
    except (OSError, RuntimeError):
        raise ImproperlyConfigured(f"DATA_DIR={name} is not a folder.") from None


def images_folder() -> Path | None:
    """``IMAGES``, a folder that can be read; ``None`` if it is not set."""
    name = os.environ.get("IMAGES")
    if not name:
        return None
    try:
        path = Path(name).expanduser().resolve()
        is_folder = path.is_dir()
    except PermissionError:
        raise ImproperlyConfigured(f"The folder IMAGES={name} cannot be read.") from None
    except (OSError, RuntimeError):
        is_folder = False
    if not is_folder:
        raise ImproperlyConfigured(f"IMAGES={name} is not a folder.")
    if not os.access(path, os.R_OK | os.X_OK):
        raise ImproperlyConfigured(f"The folder IMAGES={name} cannot be read.")
    return path


def is_plain(images: Path | None) -> bool:
    """Whether the demo shows images alone: with ``DEMO=plain``, and where they are the user's own."""
    demo = os.environ.get("DEMO", "")
    if demo not in ("", "plain"):
        raise ImproperlyConfigured(f"DEMO={demo} is not known: use DEMO=plain, or leave it out.")
    return demo == "plain" or images is not None


def url(host: str, port: int) -> str:
    """The address of the site on this machine."""
    name = "localhost" if host in ANY_ADDRESS else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


def host_names(host: str) -> list[str]:
    """The names that a browser may use for this server, with those of the network if ``host`` is any address."""
    names = ["localhost", "127.0.0.1", "[::1]"]
    if host in ANY_ADDRESS:
        name = socket.gethostname()
        names += [name, f"{name}.local"]
        with suppress(socket.gaierror):  # some machines cannot resolve their own name
            names += {str(info[4][0]) for info in socket.getaddrinfo(name, None)}
    else:
        names.append(host)
    return names


def import_roots(host: str, images: Path | None) -> list[str]:
    """The folders from which datasets may be created in the browser: ``images``, if they are the user's own.

    The home folder is one of them only if nobody on the network can sign in.
    """
    roots = [images] if images else []
    if host in ("127.0.0.1", "localhost", "::1"):
        with suppress(RuntimeError):
            roots.append(Path.home())
    return [str(root) for root in roots if "," not in str(root)]  # a comma separates the roots
