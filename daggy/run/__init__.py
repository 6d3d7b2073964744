"""The state of one run: frontier, ledger, and the handlers that change them. Pure."""
