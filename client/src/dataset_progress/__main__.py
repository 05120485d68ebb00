"""``python -m dataset_progress``"""

import sys

from ._cli import main

sys.exit(main())
