"""What is measured, how often and for how long. The environment can change it."""

from __future__ import annotations

import os
from typing import Final

from rich.console import Console

REPEATS: Final = int(os.environ.get("REPEATS", "3"))
SECONDS: Final = float(os.environ.get("SECONDS", "5"))  # of one measurement
PARTS: Final = os.environ.get("PARTS", "fan-out pages health age breadth polling idle").split()
PLOT: Final = os.environ.get("PLOT")  # the file for the plot of ages

CROWDS: Final = (500, 2000)  # watchers
RATES: Final = (10, 1000)  # reports per second

console: Final = Console(width=120)
