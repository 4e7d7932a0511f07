"""Calls that are under way, and who else may wait for them instead of making one more.

Takes:      a miss with its key and vector; a climb to begin if nobody leads it.
Gives:      the leader's answer or live stream; of an expired answer, one fetch behind its callers.
May touch:  the event loop's tasks; the encoder's thread, to compare.
Never:      a stream told to another question; a task that nobody awaits.
Owner:      the event loop's thread; all of it outlives a reload.
"""
