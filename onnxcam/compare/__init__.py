"""Two models on the same pictures, here or on a device: recorded, compared, judged, reported."""
