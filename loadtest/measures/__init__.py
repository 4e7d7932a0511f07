"""Samples in; rates, intervals, slopes and costs out.

Takes:      counts and times; a process id for what it takes of the machine.
Gives:      figures with their intervals.
May touch:  /proc, to read it.
Never:      the network.
"""
