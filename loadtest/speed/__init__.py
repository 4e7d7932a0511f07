"""How fast, and for how much: each path beside the barest server that does the same.

Takes:      servers, callers, questions.
Gives:      tables of cost, rate, latency and memory, with the baseline in the same run.
May touch:  what servers and callers may.
Never:      a limit that a test would hold a timing to.
"""
