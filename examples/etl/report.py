"""Gather what was derived into `out/report.csv`, a row for each date and region."""

from pathlib import Path

rows = sorted(path.read_text() for path in Path("out", "representation").glob("*.csv"))
report = "date,region,people,people_a_square_mile,house_seats,people_a_seat\n" + "".join(rows)
Path("out", "report.csv").write_text(report)
print(report, end="")
