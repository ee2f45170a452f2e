"""Vision-language decoders: their parts, as exporters write them, joined into one model."""
