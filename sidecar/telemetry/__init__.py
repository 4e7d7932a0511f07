"""What the operator sees: counters, log lines, and how long each hop took.

Takes:      facts, after they happened.
Gives:      Prometheus text, JSON log lines, `server-timing`.
May touch:  prometheus_client in `metrics.py`, logging in `logs.py`, the monotonic clock.
Never:      a caller's text or key, a label that is not from a closed set.
Owner:      each request owns its Stopwatch; the metrics are the registry's.
"""
