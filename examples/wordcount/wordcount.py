"""Count the words of a text: an Apache Beam program that knows nothing of Daggy."""

from __future__ import annotations

import argparse
import re

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions


def words(line: str) -> list[str]:
    found = re.findall(r"[a-z']+", line.lower())
    Metrics.counter("wordcount", "lines").inc()
    Metrics.counter("wordcount", "words").inc(len(found))
    return found


def line(counted: tuple[str, int]) -> str:
    word, count = counted
    return f"{count} {word}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    own, others = parser.parse_known_args()
    with beam.Pipeline(options=PipelineOptions(others)) as pipeline:
        counts = (
            pipeline
            | beam.io.ReadFromText(own.input)
            | "words" >> beam.FlatMap(words)
            | "count" >> beam.combiners.Count.PerElement()
        )
        counts | "line" >> beam.Map(line) | beam.io.WriteToText(own.output, shard_name_template="")


if __name__ == "__main__":
    main()
