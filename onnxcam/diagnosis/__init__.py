"""Why a quantised model differs from its float original: the effect of each quantised tensor, causes, and the cure."""
