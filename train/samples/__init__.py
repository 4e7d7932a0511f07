"""Questions with several tiers' answers, and which of them were right: read, made, told.

Takes:      files of rows, the traffic log, prompts to ask every tier.
Gives:      examples that every verb reads; rows in a file; the log for other tools.
May touch:  the disk; tiers, through `sidecar.assembly.tierwise` alone.
Never:      a model that it would fit.
"""
