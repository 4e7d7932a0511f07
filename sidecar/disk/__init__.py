"""How bytes lie on the disk: sealed for who has the key, and whole whenever the process ends.

Takes:      bytes, a key, a path.
Gives:      the same bytes, or None where they do not open or cannot be read.
May touch:  the disk in statefile.py; cryptography in sealing.py.
Never:      what the bytes mean.
Owner:      whoever holds the cipher or the file; a state file is written by one thread.
"""
