"""What the operator has switched off or forced for a while, and what that means for one request.

Takes:      switches with an expiry and a reason, from the operator plane and from their file.
Gives:      a `Ruling` for a tenant's request, decided without I/O.
May touch:  in board.py alone: the file, a thread of its own, the clock that is handed in, the log.
Never:      the network; a request is never refused here, only ruled upon.
Owner:      the main loop; the file belongs to the board's thread.
"""
