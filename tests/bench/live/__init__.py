"""`make bench-live`: from a change to every watcher, beside the plain Channels recipe and a bare broadcast.

A receiver in C counts the frames; it is fast enough not to be the limit. Processor time is that of the server's process
alone. The age of a frame is the time from the moment at which its report was written to its arrival.
"""
