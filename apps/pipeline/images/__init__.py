"""Image files, with no run, chunk or lease in sight: find, verify, scale down, embed, search, serve.

Imports `models` alone of the pipeline (arrows: services → queue → tasks → work → images). `scanning`, `verify`,
`thumbnails` and `embedders` run in the processes of the pool and import nothing of Django.
"""
