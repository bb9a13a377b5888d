"""The same core over HTTP: REST, server-sent events, WebSockets, and what other clients speak.

Start reading at `app`, which puts the parts together, and `core`, which they share.
"""
