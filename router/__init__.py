"""Which tier to ask first, and whether the answer that came back is good enough.

Takes:      a question's text and vector, the ladder, answers as plain values.
Gives:      decisions and judgements, each with its reason and its probabilities.
May touch:  numpy; the disk in `artifact.py`, once, at the start.
Never:      an event loop, the network, a clock, dice (a draw is handed in), `cache`, `sidecar`.
Owner:      nobody: everything in here is immutable once built, but for one request's `Cascade`
            and `Readings`.
"""
