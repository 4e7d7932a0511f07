"""What builds a running sidecar from its config, part by part.

Takes:      a Config, and the stack on which each part that was started leaves its end.
Gives:      `Lasting`, which outlives a reload; a `Pipeline`, which one replaces; `Tierwise`, which
            is tiers alone, for training.
May touch:  every room below it, by constructors; the clock and the dice, which it hands on.
Never:      a caller's request; a decision beyond which part is built and which may be missing.
Owner:      `app.py` holds what is built, and ends it in reverse order.
"""
