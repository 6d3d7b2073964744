"""The launcher: the program that starts processes on a host and reports on them. Standard library only, Python 3.8."""
