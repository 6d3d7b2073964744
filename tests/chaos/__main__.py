"""`python tests/chaos`: kill Daggy at every moment and boundary for a while, and say what it survived."""

import importlib
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])
sys.exit(importlib.import_module("tests.chaos.command").main(sys.argv[1:]))
