"""Who may come in, how many at once, and how much each may take and spend.

Takes:      API keys, priorities, token counts and prices, from web/, fragments and the till.
Gives:      a Caller, a Place, a Hold; or the refusal, which says when to come back.
May touch:  the event loop in places.py and bookkeeper.py; the disk in store.py.
Never:      a request's text, a header's name beyond the key's, the network.
Owner:      the event loop's thread; the file has a thread of its own.
"""
