"""What the operator sees: counters, log lines, and how long each hop took.

Takes:      facts, after they happened.
Gives:      Prometheus text, JSON log lines.
May touch:  prometheus_client, logging in `logs.py`.
Never:      a caller's text or key, a label that is not from a closed set.
Owner:      `assembly` builds both and hands them on.
"""
