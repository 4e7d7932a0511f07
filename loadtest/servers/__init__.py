"""What is asked, started and stopped: sidecars, vendors, bare servers, other gateways.

Takes:      a config, an environment of its own for another gateway.
Gives:      running processes with their URLs.
May touch:  processes, free ports of loopback, folders of their own.
Never:      a verdict.
"""
