"""`make bench-fairness`: how much longer pages, polls and reports take while somebody asks for too much of the server.

`site` prepares the server, `attacks` has the attacks, each a process of its own, and `probe` measures meanwhile.
"""
