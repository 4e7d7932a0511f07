"""The process among others on its machine: its garbage, its threads' precedence, its pages.

Takes:      a moment at which what stays is there; a thread; what is read often.
Gives:      the same process, less often in the way of whoever waits.
May touch:  the operating system, where it is one that can; elsewhere nothing happens.
Never:      an exception where something cannot be had.
Owner:      nobody: it keeps nothing, and whoever starts a thread or opens weights asks for it.
"""
