"""The edge: files that explain themselves, and proof that a device looks at the same place."""
