"""Converters: models of other frameworks become ONNX that explains itself, proven equal.

::

    source      what a converter says of a model of its framework
    pytorch     … PyTorch's        (torchmodel, torchexport, torchfiles, torchsizes)
    tensorflow  … TensorFlow's, Keras's, TFLite's
    trust       what in a file could run code, which is refused before a framework reads the file
    pipeline    export, card, precision, exposed layers, proof, and the move into place
    precision   float16 and int8
    verify      the proof
    convert     the functions for users, re-exported as `onnxcam.converters`

No framework is imported before it is needed.
"""
