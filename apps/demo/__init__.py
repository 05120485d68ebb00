"""Images that `make demo` processes where no folder is given: generated, so that no one has to download any.

Imports nothing of the project, and only `progress_site.demo` imports it.
"""
