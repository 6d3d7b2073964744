"""`python -m daggy` is `daggy`."""

import sys

from daggy.cli import main

sys.exit(main())
