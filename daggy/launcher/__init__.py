"""Our end of the launcher: start one, talk to it, and read what a dead one left behind."""
