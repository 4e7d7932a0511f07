"""What a router is worth, beside every baseline, with intervals; and whether it may be released.

Takes:      an artifact, rows that it never saw, the log.
Gives:      figures, tables, one page with plots, the gate's verdict.
May touch:  the disk, matplotlib.
Never:      a choice that is made on the rows of the report.
"""
