"""Text in, unit vectors out.

Takes:      texts, and work to do with their vectors on the same thread.
Gives:      Encoding (vector, tokens, whether the text was cut, times); EncoderError.
May touch:  onnxruntime in `onnx.py`, tokenizers in `tokenizer.py`, disk and hub in `bundle.py`.
Never:      torch; what a vector is used for.
Owner:      one thread, started and joined by `batcher.py`.
"""

import os

# The one line of code in a room card: it must run before any module in here imports ONNX Runtime,
# whose official builds report to their maker and keep a device id on disk unless they are told not
# to by then. Source: onnxruntime's Privacy.md, "Disabling Telemetry", version 1.31.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
