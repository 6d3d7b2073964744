"""Join population and land area of one region and date: people a square mile, into `out/density`."""

import sys
from decimal import Decimal
from pathlib import Path

region, date = sys.argv[1:]
clean = Path("out", "clean")
people = int((clean / f"population-{region}-{date}.csv").read_text())
square_miles = Decimal((clean / f"land_area-{region}.csv").read_text().strip())

target = Path("out", "density", f"{region}-{date}.csv")
target.parent.mkdir(parents=True, exist_ok=True)
target.write_text(f"{people},{people / square_miles:.1f}\n")
