"""Structure of a network, read from its graph: layouts of axes, layers, and blocks."""
