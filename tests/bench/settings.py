"""The site's settings, with an empty view added, and without a limit on what one address may read."""

from progress_site.settings import *  # noqa: F403  # all of them

ROOT_URLCONF = "tests.bench.urls"
READS_PER_ADDRESS = 0
