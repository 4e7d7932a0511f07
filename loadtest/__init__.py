"""The doubter: asks the running sidecar over HTTP and counts what came back.

Takes:      a base URL, streams of questions whose right answers it knows by itself.
Gives:      tables: hits, false hits, tier shares, cost, latency.
May touch:  the network (loopback), the disk for its results.
Never:      an import of sidecar, router, cache or train: it sees what a caller sees.

Verbs stand in `speed`, `resilience`, `hits` and `learning`; they have `callers` ask `questions` of
`servers`, with `vendors` behind them, and `measures` say what came of it.
"""
