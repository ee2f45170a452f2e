"""Web page that runs a baked model in the browser: its files, its runtime, and a local server."""
