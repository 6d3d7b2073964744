"""Tasks that go out in folders to a place with a queue of its own, and what became of them comes back as files."""
