"""The server: the engine behind an HTTP API, protected by a token."""
