"""Python functions as tasks: the kinds that become a command of an interpreter, and what runs in it."""
