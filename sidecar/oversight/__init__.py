"""What the sidecar learns from its own hits: feedback heard, hits checked, bad ones taken back.

Takes:      accounts of requests from the pipeline, feedback from its door.
Gives:      what was found to `cache.trust`, entries to forget to the keeper, counts and log lines.
May touch:  upstreams, by way of `dispatch`; the encoder's thread, for the vectors of answers.
Never:      a caller's time: hits are checked afterwards, and what does not fit is dropped.
Owner:      the event loop's thread; its tasks are started and ended by `checks.Checks`.
"""
