"""The kind of task `beam`: an Apache Beam program, run as it is. Only the worker, in a task, imports Beam."""

from daggy_beam.kind import BeamKind as BeamKind, BeamSettings as BeamSettings
