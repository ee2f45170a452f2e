"""DeepLIFT: differences from a reference in place of derivatives."""
