"""`make demo`: everything on this machine, from an empty folder to a dataset that is being processed.

Prepares the data folder (secret key, database, static files, an admin user), starts the web process and one worker,
puts a folder of images in the queue, and stays until it is told to stop. It can be started again at any time: what is
there is kept.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from progress_site.startup import USAGE, one_line_errors

BASE_DIR = Path(__file__).resolve().parent.parent
SECONDS_TO_START = 60
SECONDS_TO_STOP = 10
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # the last when its terminal is closed


def main() -> None:
    host = os.environ.get("HOST") or "127.0.0.1"
    port = _free_port(host, os.environ.get("PORT") or "8000")
    data_dir = _data_dir(os.environ.setdefault("DATA_DIR", str(BASE_DIR / "var")))
    images = _folder(os.environ["IMAGES"]) if os.environ.get("IMAGES") else None
    _make_secret_key(data_dir)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "progress_site.settings")
    os.environ.setdefault("ALLOWED_HOSTS", ",".join(_names_of_this_machine(host)))
    os.environ.setdefault("IMPORT_ROOTS", ",".join(_import_roots(host, images or data_dir / "images")))
    _load()
    dataset_id = os.environ.get("DATASET") or ("demo" if images is None else _dataset_id_of(images))
    _check_dataset_id(dataset_id)
    _prepare()
    folder = images or data_dir / "images" / "demo"
    _check_folder(dataset_id, folder, ours=images is None)
    password = _make_admin()
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    with _Children() as children:
        children.start(
            "web", "-m", "progress_site.servers.daphne", "-b", host, "-p", str(port), "progress_site.asgi:application"
        )
        # While it starts, there is something else to do.
        if images is None:
            _make_demo_images(folder)
        _queue(folder, dataset_id)
        children.start("worker", "manage.py", "worker")
        children.wait_for(host, port)
        print(f"\n  Dataset Progress is at {address}/datasets/{dataset_id}/", flush=True)
        if password:
            print(f"  Sign in at {address}/admin/ as admin with the password {password} (shown this once)", flush=True)
        print("  Stop it with Ctrl-C.\n", flush=True)
        children.stay()


def _give_up(why: str) -> NoReturn:
    print(why, file=sys.stderr)
    raise SystemExit(USAGE)


def _free_port(host: str, port: str) -> int:
    if not port.isdecimal() or not 0 < int(port) < 65536:
        _give_up(f"PORT={port} is not a port: choose one from 1 to 65535.")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        _give_up(f"HOST={host} is not an address of this machine.")
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            _give_up(f"Port {port} of {host} cannot be used ({error.strerror}): choose another with PORT=.")
    return int(port)


def _data_dir(data_dir: str) -> Path:
    try:
        return Path(data_dir).expanduser().resolve()
    except (OSError, RuntimeError):
        _give_up(f"DATA_DIR={data_dir} is not a folder.")


def _folder(images: str) -> Path:
    try:
        path = Path(images).expanduser().resolve()
        is_folder = path.is_dir()
    except PermissionError:
        _give_up(f"The folder IMAGES={images} cannot be read.")
    except (OSError, RuntimeError):
        is_folder = False
    if not is_folder:
        _give_up(f"IMAGES={images} is not a folder.")
    if not os.access(path, os.R_OK | os.X_OK):
        _give_up(f"The folder IMAGES={images} cannot be read.")
    return path


def _import_roots(host: str, images: Path) -> list[str]:
    """Where datasets may be made of in the browser: all that is this person's own, unless others can sign in too."""
    roots = [images]
    if host in ("127.0.0.1", "localhost", "::1"):
        with suppress(RuntimeError):
            roots.append(Path.home())
    return [str(root) for root in roots if "," not in str(root)]  # which divides them


def _dataset_id_of(folder: Path) -> str:
    """A dataset id made of a folder's name."""
    dataset_id = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in folder.name).strip("-")
    return dataset_id[:128] or "images"


def _check_dataset_id(dataset_id: str) -> None:

    from apps.datasets.dataset_ids import is_dataset_id

    if not is_dataset_id(dataset_id):
        _give_up(f"DATASET={dataset_id} is not an id: use letters, digits, dots, dashes and underscores.")


def _names_of_this_machine(host: str) -> list[str]:
    """The names under which a browser may ask for this server; the network's too where it listens to that."""
    names = ["localhost", "127.0.0.1", "[::1]"]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound to
        name = socket.gethostname()
        names += [name, f"{name}.local"]
        with suppress(socket.gaierror):  # not every machine knows itself by its name
            names += {str(info[4][0]) for info in socket.getaddrinfo(name, None)}
    else:
        names.append(host)
    return names


def _make_secret_key(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        path = data_dir / "secret_key"
        if not os.environ.get("SECRET_KEY") and not (path.exists() and path.read_text().strip()):
            made = data_dir / ".secret_key"
            made.touch(mode=0o600)
            made.write_text(secrets.token_urlsafe(48) + "\n")
            made.replace(path)  # whole, or not at all
    except OSError as error:
        _give_up(f"The data folder {data_dir} cannot be written to: {error.strerror}.")


def _load() -> None:
    """Load the settings, and refuse those that are wrong before anything is done with them."""
    import django
    from django.core.checks import run_checks

    django.setup()
    if wrong := [complaint.msg for complaint in run_checks() if complaint.is_serious()]:
        _give_up(" ".join(wrong))


def _prepare() -> None:
    """Bring the database, the static files and the client package up to date."""
    from django.core.management import call_command

    print("Preparing the database...", flush=True)
    call_command("migrate", verbosity=0, interactive=False)
    _collect_static()
    call_command("build_client", verbosity=0)


def _collect_static() -> None:
    """Collect and compress the static files, unless they are those that were collected last."""
    from django.conf import settings
    from django.contrib.staticfiles.finders import get_finders
    from django.core.management import call_command

    digest = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list([]):
            status = Path(storage.path(path)).stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    if stamp.is_file() and stamp.read_text() == digest.hexdigest():
        return
    print("Collecting static files...", flush=True)
    shutil.rmtree(settings.STATIC_ROOT, ignore_errors=True)
    call_command("collectstatic", verbosity=0, interactive=False)
    stamp.write_text(digest.hexdigest())


def _make_admin() -> str | None:
    """Make an admin user where there is none; returns its password, which is stored nowhere."""
    from django.contrib.auth import get_user_model

    users = get_user_model().objects
    if users.filter(is_superuser=True).exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create_superuser("admin", password=password)
    return password


def _check_folder(dataset_id: str, folder: Path, *, ours: bool) -> None:
    """Refuse to take a dataset from another folder: its samples would go. Not where ``ours`` has moved with `var/`."""
    from apps.pipeline.models import Source
    from apps.pipeline.services import OtherFolder, check_folder

    if ours:
        moved = Source.objects.filter(dataset__dataset_id=dataset_id, folder__endswith="/images/demo").first()
        if moved is not None and not Path(moved.folder).exists():
            return
    try:
        check_folder(dataset_id, folder)
    except OtherFolder as error:
        _give_up(f"{error} Choose another DATASET=.")


def _make_demo_images(folder: Path) -> None:
    from apps.demo.images import make_demo_images

    print("Preparing 300 images, and three that are broken...", flush=True)
    make_demo_images(folder)


def _queue(folder: Path, dataset_id: str) -> None:
    from apps.pipeline.services import process_folder
    from apps.progress.errors import RunUnfinished

    try:
        process_folder(folder, dataset_id=dataset_id, replace=True)
    except RunUnfinished:
        print(f"  {dataset_id} goes on where it was stopped.", flush=True)


class _Children:
    """The processes that were started here; none outlives the context.

    Each has a session of its own, so Ctrl-C in a terminal reaches this process alone, which then stops them in order.
    """

    def __init__(self) -> None:
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._held = self._told = False

    def __enter__(self) -> _Children:
        for signum in SIGNALS:
            signal.signal(signum, self._stop)
        return self

    def __exit__(self, *error: object) -> None:
        for signum in SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
        for child in self._started.values():
            child.terminate()
        deadline = time.monotonic() + SECONDS_TO_STOP
        for child in self._started.values():
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def start(self, name: str, *arguments: str) -> None:
        command = [sys.executable, *arguments]
        with self._undisturbed():
            self._started[name] = subprocess.Popen(command, cwd=BASE_DIR, start_new_session=True)  # noqa: S603 - our own

    def wait_for(self, host: str, port: int) -> None:
        """Return once the server takes connections."""
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline:
            self._check()
            try:
                socket.create_connection((host, port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise SystemExit(f"The server did not start within {SECONDS_TO_START} s.")

    def stay(self) -> None:
        """Wait for a signal. Raises `SystemExit` where a child ends by itself."""
        while True:
            self._check()
            time.sleep(0.5)

    def _check(self) -> None:
        for name, child in self._started.items():
            with self._undisturbed():
                status = child.poll()
            if status is not None:
                raise SystemExit(f"The {name} process has ended (exit status {status}).")

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self._told = True
        if not self._held:
            raise SystemExit(0)

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Hold a signal back: raised inside `Popen`, it would leave a child unknown, or the lock of its status held."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._told:
            raise SystemExit(0)


if __name__ == "__main__":
    with one_line_errors():
        main()
