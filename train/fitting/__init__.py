"""Examples in, an artifact of the router out.

Takes:      examples with some or all tiers' answers; an artifact to grow from.
Gives:      arrays and a manifest, with what they came to on rows kept apart.
May touch:  scikit-learn, the disk.
Never:      a row for a figure that it was fitted on.
"""
