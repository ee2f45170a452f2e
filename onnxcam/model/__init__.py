"""A model that is to be explained: what it takes, what it does, and why a map of it may be empty."""
