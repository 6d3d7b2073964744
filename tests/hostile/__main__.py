"""`python tests/hostile TARGET`: fuzz one reader of what others wrote, guided by coverage (needs `atheris`)."""

import importlib
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])
sys.exit(importlib.import_module("tests.hostile.command").main(sys.argv[1:]))
