"""What one request came to, told three ways: response headers, metrics, one record for the log.

Takes:      a `Ledger`, when the last byte is out.
Gives:      headers, a stream's last word, a record; what a front may count by itself (`Again`).
May touch:  the log and the meter, by their Protocols.
Never:      a question or an answer in a header; the network.
Owner:      the event loop's thread; nothing in here is kept from one request to the next.
"""
