"""Which artifact decides, request by request, and how a new one earns its place or loses it.

Takes:      a registry's state, requests that are over, feedback and labels; the operator's word.
Gives:      a router of one or two arms; the next step of a trial, written to the registry.
May touch:  the registry's folder, on a thread of its own.
Never:      the network, the cache, a caller's answer: a trial that fails costs a trial.
Owner:      Rollout, on the event loop's thread, of what is released and of the evidence.
"""
