"""The server: the engine behind an HTTP API, for whoever has the token."""
