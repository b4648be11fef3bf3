"""`python -m mailwarden_services.spark_stream`: fold a stream of events, from files or from Kafka, until SIGTERM."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from pathlib import Path

from mailwarden import logs
from mailwarden.errors import ConfigError, StoreError
from mailwarden.settings import Settings
from mailwarden.stores.spark.load import RedisSink
from mailwarden.stores.spark.session import spark_session
from mailwarden.stores.spark.streaming import OnlineFold, kafka_events, parquet_events
from mailwarden_services.bootstrap import Platform
from mailwarden_services.ending import in_words, to_standard_error


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until the stream ends or SIGTERM comes; what was not folded by then is handed in again by the checkpoint.

    Raises ConfigError without a Redis, StoreError where the stream failed.
    """
    chosen = _parser().parse_args(arguments)
    if (chosen.files is None) == (chosen.kafka is None) or (chosen.kafka is None) != (chosen.topic is None):
        raise ConfigError("name one source: --files FOLDER, or --kafka SERVERS with --topic NAME")
    logs.configure()
    platform = Platform(Settings())
    settings = platform.settings
    url = settings.redis_url.get_secret_value()
    if not url:
        raise ConfigError("a stream folds into a Redis that others read: set MAILWARDEN_REDIS_URL")
    spark = spark_session(settings, "mailwarden stream")
    if chosen.files is not None:
        events = parquet_events(spark, chosen.files)
    else:
        events = kafka_events(spark, chosen.kafka, chosen.topic, dict(option.split("=", 1) for option in chosen.option))
    sink = RedisSink(url, settings.project, tuple(platform.activity), settings.streams)
    fold = OnlineFold(sink, settings.events_path, settings.facts_path)
    checkpoint = chosen.checkpoint or settings.root / "stream"
    query = fold.start(events, checkpoint, every=chosen.every, only_what_is_there=chosen.once)
    signal.signal(signal.SIGTERM, lambda *_: query.stop())
    try:
        query.awaitTermination()
    except Exception as exc:
        raise StoreError(f"the stream ended: {str(exc).strip().splitlines()[0]}") from exc
    finally:
        spark.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mailwarden_services.spark_stream", description=__doc__)
    parser.add_argument("--files", type=Path, help="folder that Parquet files of the event log's schema are moved into")
    parser.add_argument("--kafka", metavar="SERVERS", help="bootstrap servers of Kafka")
    parser.add_argument("--topic", help="its topic, keyed by tenant, values events as JSON")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of Spark's Kafka source")
    parser.add_argument("--checkpoint", type=Path, help="folder of the checkpoint; by default in MAILWARDEN_HOME")
    parser.add_argument("--every", default="1 second", help="how often a batch is begun")
    parser.add_argument("--once", action="store_true", help="fold what is there, then end")
    return parser


if __name__ == "__main__":
    with in_words(to_standard_error, traces=True):
        main()
