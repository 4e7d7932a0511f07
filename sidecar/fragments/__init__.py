"""One answer put together from parts, each a request like any other.

Takes:      a template and named chat requests, from the door.
Gives:      each part's answer as it comes, or what its own rule says where it fails.
May touch:  the pipeline, by what it is handed.
Never:      the cache or an upstream by itself; a look for places in what fills a place.
Owner:      the event loop's thread; each request's parts are its own tasks, awaited at its end.
"""
