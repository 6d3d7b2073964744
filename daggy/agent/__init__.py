"""`daggy agent`: lets a server run tasks on this machine, which it could not reach itself."""
