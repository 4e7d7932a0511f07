"""When two questions want one answer: the cache's risk models and its pair verifier.

Takes:      pairs judged by reading, labelled pairs, generated look-alikes.
Gives:      risk models with their operating tables, a small cross-encoder in int8.
May touch:  torch, onnxruntime by the sidecar's own code, the disk.
Never:      a pair for a figure that it was fitted on.
"""
