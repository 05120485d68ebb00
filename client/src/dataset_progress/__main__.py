"""``python -m dataset_progress`` is the command ``dataset-progress``."""

import sys

from ._cli import main

sys.exit(main())
