"""Who streams turns over HTTP, each in a process of its own: `python -m bench.servers NAME …`."""
