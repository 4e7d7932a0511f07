"""The upstreams that serve one tier: who is asked first, when again, and when no more.

Takes:      an Errand: one call for one tier, from dispatch; the upstreams, from assembly.
Gives:      the answer and the attempts that it took; ProviderError and nothing else.
May touch:  upstreams through their Protocol; a clock, dice and a pause that are handed in.
Never:      the cache, the router, another tier; aiohttp.
Owner:      the event loop's thread. What is known of an upstream (breaker, latency, retry budget)
            lives in `fleet.py` and outlives a reload; all else is built anew by each.
"""
