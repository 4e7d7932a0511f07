"""The operator's rules on what goes in and what comes out; they live in the config, not in prompts.

Takes:      a request, and the answers to it.
Gives:      a refusal of the request; of an answer, the rule that it breaks, and how it is mended.
May touch:  jsonschema and referencing in schemas.py.
Never:      the network (a schema's remote reference is not fetched), a model, the cache.
Owner:      the main loop; all that is done here is bounded in its steps, whoever wrote the text.
"""
