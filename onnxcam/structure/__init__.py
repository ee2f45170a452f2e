"""What the graph of a network means: which axes are channels and space, which layers it has, where its blocks end."""
