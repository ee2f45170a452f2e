"""The zoo: conventions of producers of ONNX files, each as a tiny model whose meaning is known."""
