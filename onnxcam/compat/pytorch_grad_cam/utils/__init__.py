"""pytorch-grad-cam's targets and pictures."""
