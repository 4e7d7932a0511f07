"""The doors: HTTP in, HTTP out.

Takes:      requests on the data plane and on the operator plane.
Gives:      answers, streams and errors in the vendors' own shapes.
May touch:  aiohttp's server half, and nothing of the network beside it.
Never:      a decision: what to say is settled below, how to say it is settled here.
Owner:      `app.py` hands each handler what it needs through its constructor.
"""
