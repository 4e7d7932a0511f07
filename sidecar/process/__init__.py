"""The process among others on its machine: its garbage, its threads and their work, its pages.

Takes:      a moment at which what stays is there; a thread, and its work; what is read often.
Gives:      the same process, less often in the way of whoever waits.
May touch:  the operating system, where it is one that can; elsewhere nothing happens.
Never:      an exception of its own where something cannot be had.
Owner:      nobody: it keeps nothing, and whoever starts a thread or opens weights asks for it.
"""
