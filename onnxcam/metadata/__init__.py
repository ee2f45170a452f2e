"""What travels in or beside a model file: the card, labels, JSON of other tools, and the names that are ours."""
