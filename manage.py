#!/usr/bin/env python
"""Django's command line."""

import os
import sys


def main() -> None:
    """Run the command that the command line names."""
    # Imported late: each process of the pipeline's pool imports this module, and has no use for Django.
    from django.core.management import execute_from_command_line

    from progress_site.startup import check_command, one_line_errors

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "progress_site.settings")
    with one_line_errors():
        check_command(sys.argv)
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
