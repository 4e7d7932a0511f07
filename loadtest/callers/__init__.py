"""Whoever asks: one request in, what came back out.

Takes:      a URL and a question, or the bytes of a request.
Gives:      replies, rates and latencies; a fault is an outcome, never an exception.
May touch:  the network (loopback).
Never:      a process that it would start.
"""
