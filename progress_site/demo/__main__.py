"""Prepare the data folder, start the web process and one worker, queue a folder of images, and wait for a signal.

It can be started again at any time, and keeps what is there.
"""

from __future__ import annotations

import os

from django.conf import settings

from progress_site.startup import check_services, one_line_errors

from . import dataset, options, preparation
from .processes import ChildProcesses

# Images a second of the demo's own run, so that one can watch it.
PACE = "10"


def main() -> None:
    host, port = options.address()
    data_dir = options.data_dir()
    own_images = options.images_folder()
    is_plain = options.is_plain(own_images)
    images = own_images or data_dir / "images" / "demo"
    preparation.write_secret_key(data_dir)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "progress_site.settings")
    os.environ.setdefault("ALLOWED_HOSTS", ",".join(options.host_names(host)))
    os.environ.setdefault("IMPORT_ROOTS", ",".join(options.import_roots(host, own_images)))
    os.environ.setdefault("LOG_LEVEL", "ERROR")  # a warning tells of every page that was not found
    if own_images is None:
        os.environ.setdefault("PACE", PACE)
    password = None
    try:
        with ChildProcesses() as children:
            children.start(
                "web", "-m", "progress_site.demo.web", "-b", host, "-p", str(port), "-v", "0",
                "progress_site.asgi:application",
            )  # fmt: skip
            preparation.load_settings()
            check_services(migrated=False)
            dataset_id = dataset.choose_id(own_images)
            preparation.update_database()
            preparation.collect_static_files()
            dataset.check_folder(dataset_id, images, generated=own_images is None)
            admin, password = preparation.create_admin()
            children.end_input()
            children.wait_for_server(host, port)
            url = options.url(host, port)
            say(f"\nDataset Progress is at {url}/")
            say(f"Sign in with {url}{preparation.sign_in_path(admin)} (works once)")
            if password:
                say(f"or as {admin.get_username()} with the password {password}")
            say("Stop it with Ctrl-C.\n")
            preparation.build_client()
            if not is_plain:
                dataset.start_reporters(children, admin, url)
            if own_images is None:
                if not dataset.generate_images(images):
                    say("The 300 images are there from the last time.")
                elif settings.PACE:
                    say(f"They are processed at {settings.PACE} a second, so that you can watch. PACE=0 is full speed.")
            dataset.queue(dataset_id, images)
            children.start("worker", "manage.py", "worker")
            token = preparation.issue_token(admin, "*", "make demo: yours")
            say("Your own row, from any shell:")
            say(
                f"curl {url}/api/datasets/mine/progress -H 'Authorization: Bearer {token}'"
                """ -H 'Content-Type: application/json' -d '{"state": "indexing", "current": 45, "total": 100}'\n"""
            )
            children.wait()
    finally:
        if password:
            say(f"\nThe password of {admin.get_username()} is {password}")


def say(line: str) -> None:
    print(line.replace("\n", "\n  ") if line.startswith("\n") else f"  {line}", flush=True)


if __name__ == "__main__":
    with one_line_errors():
        main()
