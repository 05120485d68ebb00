"""Who may see, report on, steer and create datasets: every answer is here, for pages, the API, sockets and commands.

rules       which datasets a caller may see, report on, steer and create; a caller is a user, a token, or both
patterns    which ids a token covers
creation    who may create which dataset
sharing     who sees a dataset: visibility, owner and members
lookup      the datasets that a request names, or why they are refused
identities  who watches over an open socket, asked again and again
errors      UnknownDataset and NotAllowed
"""
