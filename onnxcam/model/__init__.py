"""The model to explain: its description, its inputs, and why a map of it may be blank."""
