"""`python tests/bench`: measure, and print one table with the goal beside each figure."""

import importlib
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])
sys.exit(importlib.import_module("tests.bench.command").main(sys.argv[1:]))
