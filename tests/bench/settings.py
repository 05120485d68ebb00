"""The site's settings, with an empty view added."""

from progress_site.settings import *  # noqa: F403  # all of them

ROOT_URLCONF = "tests.bench.urls"
