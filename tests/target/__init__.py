"""Targets: words, what they mean for each kind of model, and how the scalar stands in the graph."""
