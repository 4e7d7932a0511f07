"""The server: HTTP in, the cheapest good answer out, everything written down.

Takes:      requests in OpenAI's shape, a config, an encoder bundle, a router artifact.
Gives:      answers in OpenAI's shape, metrics, and the traffic log that `train` reads.
May touch:  the network, the disk, the clock; each in the one room that is named for it.
Never:      torch, scikit-learn, or a decision: those are made in `cache` and `router`.
Owner:      `assembly` builds every part and hands it to the next one's constructor.

A request's way stands at the root and is read from `pipeline.py` on: `chat` and `options` are what
was asked, `targets` who may answer, `till` what it may cost, `ledger` the account that each hop
fills, `climbs` a new answer, `dispatch` who is asked for it, `outcome` and `answer` what came of
it, `degraded` the last resort, `replies` and `streams` how it is told. A hop of several modules has
a room, with its card: `web` and `front` are the doors, then `admission`, `guardrails`, `caching`,
`encoder`, `flights`, `routing`, `replicas`, `providers`, `accounting`, `traffic`; `fragments` joins
several requests.
Beside the way `oversight`, `rollout` and `overrides` watch and steer it, and `telemetry` shows it.
Below it `process` and `disk` are the ground. `app.py` is the whole's life.
"""

__version__ = "0.1.0"
