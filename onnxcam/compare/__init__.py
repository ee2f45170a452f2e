"""Compare two models on the same images, here or on a device: record, compare, check requirements, report."""
