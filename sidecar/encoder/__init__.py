"""Text in, unit vectors out.

Takes:      texts, and work to do with their vectors on the same thread.
Gives:      Encoding (vector, tokens, whether the text was cut, times); EncoderError.
May touch:  onnxruntime in `onnx.py`, tokenizers in `tokenizer.py`, disk and hub in `bundle.py`.
Never:      torch; what a vector is used for.
Owner:      one thread, started and joined by `batcher.py`.
"""
