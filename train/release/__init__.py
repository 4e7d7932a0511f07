"""A new artifact in; on trial in the registry, or refused with reasons.

Takes:      a candidate, the one that serves, rows or the log to hold both against.
Gives:      the registry's next state.
May touch:  the registry's folder.
Never:      a caller's request.
"""
