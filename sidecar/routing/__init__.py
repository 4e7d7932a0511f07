"""Where a request belongs before the router is asked, and what it came to, told afterwards.

Takes:      a request's account, the config's rules, goals and conversations.
Gives:      a `Route` when it is aimed, a `Course` when it is decided.
May touch:  RE2, by way of `patterns`; a clock that is handed in.
Never:      the network, the cache, a tier's odds: those are `router`'s.
Owner:      the event loop's thread; pacers and conversations outlive a reload.
"""
