"""The page that explains a baked model in a browser: its files, its runtime, and a server for this machine."""
