"""What breaks, floods, ends or goes on for long, and what callers noticed of it.

Takes:      a sidecar of its own, a vendor that can be told to fail.
Gives:      tables of what was heard, lost, kept, billed and left behind.
May touch:  processes and their signals, disks of their own, sockets by hand.
Never:      a sidecar that somebody else runs, unless it is named.
"""
