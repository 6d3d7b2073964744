"""`python tests/simulation`: play thousands of stories on the real engine in simulated time, and check each."""

import importlib
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])
sys.exit(importlib.import_module("tests.simulation.command").main(sys.argv[1:]))
