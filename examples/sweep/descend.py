"""Descend an oblong bowl, x² + 10 y², with momentum; keep how many steps it took in `out`."""

import os
import sys
from pathlib import Path

BUSY = 75  # what sysexits.h calls a temporary failure: the spec retries it, and nothing else

rate, momentum = sys.argv[1:]
if (rate, momentum) == ("0.05", "0.9") and os.environ.get("DAGGY_ATTEMPT") == "1":
    print("the licence server is busy", file=sys.stderr)  # plays the failure that goes away by itself
    sys.exit(BUSY)

x, y, dx, dy, steps = 1.0, 1.0, 0.0, 0.0, 0
while abs(x) + abs(y) > 1e-9:
    dx, dy = float(momentum) * dx - float(rate) * x, float(momentum) * dy - float(rate) * 10 * y
    x, y, steps = x + dx, y + dy, steps + 1
    if abs(x) + abs(y) > 1e9:
        sys.exit(f"rate {rate} with momentum {momentum} diverges after {steps} steps")

target = Path("out", f"{rate}-{momentum}")
target.parent.mkdir(exist_ok=True)
target.write_text(f"{steps} steps with rate {rate} and momentum {momentum}\n")
