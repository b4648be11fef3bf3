"""The streaming job as an operator starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mailwarden.errors import ConfigError
from mailwarden.stores.lake.event_log import events_to_table
from mailwarden_services.bench.mail import TENANT, mail_events
from mailwarden_services.bootstrap import Platform
from mailwarden_services.spark_stream.__main__ import main


def test_files_are_folded_as_the_readers_of_the_project_expect(warden: Any, tmp_path: Path) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    events = list(mail_events(40))
    pq.write_table(events_to_table(events), folder / "1.parquet")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAILWARDEN_")} | {
        "MAILWARDEN_HOME": str(tmp_path / "home"),
        "MAILWARDEN_REDIS_URL": warden.settings.redis_url.get_secret_value(),
        "MAILWARDEN_PROJECT": "streamed",
        "MAILWARDEN_SPARK_DRIVER_MEMORY": "1g",
        "MAILWARDEN_SPARK_SHUFFLE_PARTITIONS": "2",
    }
    command = [sys.executable, "-m", "mailwarden_services.spark_stream", "--files", str(folder), "--once"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    reader = Platform(warden.settings.model_copy(update={"project": "streamed"})).online_reader
    mark = reader.watermark(TENANT)
    assert mark is not None
    assert mark.seq == 40


@pytest.mark.parametrize("words", [[], ["--files", "f", "--kafka", "k", "--topic", "t"], ["--kafka", "k"]], ids=str)
def test_a_stream_has_one_source(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="name one source"):
        main(words)
