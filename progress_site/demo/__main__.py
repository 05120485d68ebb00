"""Prepare the data folder, start the web process and one worker, queue a folder of images, and wait for a signal.

It can be started again at any time, and keeps what is there.
"""

from __future__ import annotations

import os

from progress_site.startup import check_services, one_line_errors

from . import dataset, options, preparation
from .processes import ChildProcesses


def main() -> None:
    host, port = options.address()
    data_dir = options.data_dir()
    own_images = options.images_folder()
    images = own_images or data_dir / "images" / "demo"
    preparation.write_secret_key(data_dir)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "progress_site.settings")
    os.environ.setdefault("ALLOWED_HOSTS", ",".join(options.host_names(host)))
    os.environ.setdefault("IMPORT_ROOTS", ",".join(options.import_roots(host, own_images)))
    preparation.load_settings()
    check_services(migrated=False)
    dataset_id = dataset.choose_id(own_images)
    preparation.update_database()
    preparation.collect_static_files()
    preparation.build_client()
    dataset.check_folder(dataset_id, images, generated=own_images is None)
    password = preparation.create_admin()
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    with ChildProcesses() as children:
        children.start(
            "web", "-m", "progress_site.servers.daphne", "-b", host, "-p", str(port), "progress_site.asgi:application"
        )
        # While the server starts:
        if own_images is None:
            dataset.generate_images(images)
        dataset.queue(dataset_id, images)
        children.start("worker", "manage.py", "worker")
        children.wait_for_server(host, port)
        print(f"\n  Dataset Progress is at {url}/datasets/{dataset_id}/", flush=True)
        if password:
            print(f"  Sign in at {url}/admin/ as admin with the password {password} (shown this once)", flush=True)
        print("  Stop it with Ctrl-C.\n", flush=True)
        children.wait()


if __name__ == "__main__":
    with one_line_errors():
        main()
