"""Vendors' protocols and what speaks them.

Takes:      a Call: one request for one model, with its deadline.
Gives:      a Completion, or chunks as they come; ProviderError (see errors.py) and nothing else.
May touch:  the network in `client.py` alone; demo and replay answer from memory.
Never:      the cache, the router, a choice of tier.
Owner:      `assembly` builds one Upstream for each `[[upstreams]]` of the config.
"""
