"""Image files: find, verify, scale down, embed, compare and serve them. Knows nothing of runs, chunks and leases.

Imports only `models` of the pipeline (arrows: services → queue → tasks → work → images). `scanning`, `verify`,
`thumbnails` and `embedders` run in the processes of the pool and import nothing of Django.
"""
