"""Convert models of other frameworks to ONNX files with a card, and verify that both compute the same.

    entry_points       the public functions, re-exported as `onnxcam.converters`
    source             the protocol of a model in its framework
    torch_*            PyTorch: source, call, export, files, archives
    tensorflow_source  TensorFlow: chooses keras_source, tensorflow_graph_source or tflite_source
    tf2onnx_bridge     the TensorFlow exporter
    layer_tensors      the ONNX tensor of each layer of the framework
    code_scan*         refusal of files that could run code
    pipeline           export, card, precision, exposed layers, verification, publication
    precision          float16 and int8
    verify             comparison of framework and ONNX file

Frameworks are imported inside functions only.
"""
