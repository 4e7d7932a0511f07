"""The loop that makes the router, the cache's risk and the encoder bundle better.

Takes:      the traffic log, tier3 rows, labelled pairs, original weights.
Gives:      artifacts (arrays and a manifest), reports with their baselines, exported logs.
May touch:  the disk, torch, scikit-learn; sidecar's workshops (encoder, traffic), not its flow.
Never:      the serving process.

The router's way is `samples`, `fitting`, `weighing` (by `scoring`), `release`; the cache's
is `similarity`.
"""
