"""`make demo`: start everything on this machine, and process a folder of images.

`options` reads the environment, `preparation` brings the data folder up to date, `dataset` chooses and queues the
dataset, `processes` starts and stops the servers, `web` is the first of them.
"""
