"""The server: HTTP in, the cheapest good answer out, everything written down.

Takes:      requests in OpenAI's shape, a config, an encoder bundle, a router artifact.
Gives:      answers in OpenAI's shape, metrics, and the traffic log that `train` reads.
May touch:  the network, the disk, the clock; each in the one room that is named for it.
Never:      torch, scikit-learn, or a decision: those are made in `cache` and `router`.
Owner:      `assembly.py` builds every part and hands it to the next one's constructor.
"""

__version__ = "0.1.0"
