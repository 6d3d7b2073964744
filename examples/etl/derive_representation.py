"""Join the density of one region and date with its seats in the House, into `out/representation`."""

import sys
from pathlib import Path

region, date = sys.argv[1:]
people, density = Path("out", "density", f"{region}-{date}.csv").read_text().strip().split(",")
seats = int(Path("out", "clean", f"house_seats-{region}-{date}.csv").read_text())

target = Path("out", "representation", f"{region}-{date}.csv")
target.parent.mkdir(parents=True, exist_ok=True)
target.write_text(f"{date},{region},{people},{density},{seats},{round(int(people) / seats)}\n")
