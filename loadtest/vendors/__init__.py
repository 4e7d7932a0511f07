"""Who answers behind a gateway: simulated, cheap, or misbehaving to the byte.

Takes:      OpenAI-shaped requests over HTTP.
Gives:      answers that say what they were asked, delays and mischief as told.
May touch:  sockets of loopback.
Never:      a question of what the gateway made of it.
"""
