"""The command line: one file a command, imported when it is called."""

from daggy.cli.start import main as main
