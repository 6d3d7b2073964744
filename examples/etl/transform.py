"""Add up one pulled source over the states of one region, into `out/clean`."""

import csv
import sys
from decimal import Decimal
from pathlib import Path

source, region, dates = sys.argv[1], sys.argv[2], sys.argv[3:]
target = Path("out", "clean", "-".join([source, region, *dates]) + ".csv")
target.parent.mkdir(parents=True, exist_ok=True)

with Path("out", "raw", "-".join([source, *dates]) + ".csv").open(newline="") as pulled:
    values = [Decimal(row[source]) for row in csv.DictReader(pulled) if row["region"] == region]
if not values:
    sys.exit(f"{source}: no state of region {region!r}")
target.write_text(f"{sum(values)}\n")
