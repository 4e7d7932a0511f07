"""What served answers are worth: replayed from recordings, or told from the log.

Takes:      recorded answers, logged choices and outcomes.
Gives:      points of cost and quality, the figures that are compared, runs for a store.
May touch:  numpy; an MLflow store where one is named.
Never:      a fit.
"""
