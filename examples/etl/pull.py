"""Pull one source, of one date if it has dates, into `out/raw`. The files in `data` stand for a download."""

import csv
import sys
from pathlib import Path

source, dates = sys.argv[1], sys.argv[2:]
column = dates[0] if dates else "square_miles"
target = Path("out", "raw", "-".join([source, *dates]) + ".csv")
target.parent.mkdir(parents=True, exist_ok=True)

with Path("data", f"{source}.csv").open(newline="") as given, target.open("w", newline="") as kept:
    writer = csv.writer(kept)
    writer.writerow(["state", "region", source])
    writer.writerows([row["state"], row["region"], row[column]] for row in csv.DictReader(given))
