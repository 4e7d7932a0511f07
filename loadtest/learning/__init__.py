"""What the router costs and gets right on recorded answers, and whether it learns from its log.

Takes:      recorded answers of real models.
Gives:      quality and cost at each setting, before and after a retrain, by HTTP alone.
May touch:  what servers and callers may; `python -m train` as a process.
Never:      an import of what it judges.
"""
