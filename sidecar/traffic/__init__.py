"""What happened, written down: the only memory that training has.

Takes:      one record a request and one a piece of feedback.
Gives:      files of msgpack records, and the same records back.
May touch:  the disk: `writer.py` on its own thread, `reader.py` for `train`.
Never:      a request's path: a full queue or a full disk drops a record, and counts it.
Owner:      `writer.py` owns the open file.
"""
