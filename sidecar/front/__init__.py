"""Several processes on one port: fronts that answer what was just answered, one owner for the rest.

Takes:      `[server] workers`, the owner's exact hits, raw requests at each front.
Gives:      the same bytes' answer again without waking the owner; every other request to the owner.
May touch:  one piece of shared memory, Unix sockets, child processes.
Never:      a decision: whatever needs a rule, a budget, a vector or a model is the owner's.
Owner:      the owner process alone writes; a front reads, relays, and tells what it served.

Why so, and not N whole sidecars. Budgets, rates, breakers, retry budgets, single-flight, the index,
what was learnt of hits, kill switches: each is true because one process holds it. N copies would
multiply some of them by N and let the others disagree. A call upstream takes a second and a vendor
allows some thousand a minute, so that misses never fill a core; exact hits do, and those need none
of the above as long as nothing has changed since the owner gave the same answer. So it is those
that are spread, and whatever changes shuts or empties the table that they are served from.
"""
