"""The program that starts processes on a host and reports on them, and our end of it."""
