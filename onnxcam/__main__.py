"""`python -m onnxcam` is the command `onnxcam`."""

from onnxcam.cli import main

if __name__ == "__main__":
    main()
