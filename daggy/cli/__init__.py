"""The command line: one file a command, imported when it is called."""

from daggy.cli.main import main as main
