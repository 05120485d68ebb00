"""What a worker does with a run: hold its lease, cut it into chunks, put them through the pool, commit the results.

Imports `images`, `models` and `stages` of the pipeline (arrows: services → queue → tasks → work → images). `pool` runs
in its own processes too, and imports nothing of Django.
"""
