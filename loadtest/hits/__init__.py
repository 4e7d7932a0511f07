"""Whether answers that are given again are right, beside what other caches would have done.

Takes:      streams of questions whose meaning is known.
Gives:      hits and wrong hits with their intervals, the sidecar's own estimate beside them.
May touch:  what servers and callers may.
Never:      the sidecar's own verdict as the truth.
"""
