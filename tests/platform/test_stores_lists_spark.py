"""Lists on Spark's executors: sent by name, loaded there, and refused where the files are not the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.errors import PythonException
from pyspark.sql import SparkSession

from mailwarden.stores.lists import load_lists


def test_workers_load_the_same_lists_or_refuse_to_work(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "free_mail.txt"
    file.write_text("# name: free_mail\n# version: 1\n\nposta.example\n")
    lists = load_lists(tmp_path)

    def known(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            found = [lists.holds("free_mail", host) for host in batch.column("host").to_pylist()]
            yield pa.RecordBatch.from_arrays([pa.array(found)], names=["known"])

    hosts = spark.createDataFrame([("posta.example",), ("gmail.com",)], "host string").coalesce(1)
    assert [row.known for row in hosts.mapInArrow(known, "known boolean").collect()] == [True, False]
    file.write_text("# name: free_mail\n# version: 2\n\nposta.example\n")
    lists = load_lists(tmp_path)
    # Where a worker runs the file is another by now.
    file.write_text("# name: free_mail\n# version: 3\n\nposta.example\n")
    with pytest.raises(PythonException, match="put the same files on all machines"):
        hosts.mapInArrow(known, "known boolean").collect()
