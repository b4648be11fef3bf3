"""`python -m mailwarden_services.feature_writer`: the feature writer of a home, or writers of some partitions only."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from threading import Event as Flag

from mailwarden import logs
from mailwarden.errors import ConfigError
from mailwarden.settings import Settings
from mailwarden_services.allocator import give_back_freed_memory
from mailwarden_services.bootstrap import Platform, with_views
from mailwarden_services.ending import in_words, to_standard_error, when_told_to_stop
from mailwarden_services.feature_writer.writer import serve_partitions


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM or SIGINT; what is not folded or logged by then stays in the spool and the streams."""
    parser = argparse.ArgumentParser(prog="python -m mailwarden_services.feature_writer")
    parser.add_argument(
        "--partitions",
        default="",
        help="fold these partitions alone (numbers, with commas), and leave spool and logs to the home's own writer",
    )
    parser.add_argument(
        "--views", type=int, help="a descriptor that the views can be read from, as whoever starts this has found them"
    )
    given = parser.parse_args(arguments)
    chosen = given.partitions
    logs.configure()
    give_back_freed_memory()
    platform = Platform(Settings()) if given.views is None else with_views(Settings(), given.views)
    if not chosen:
        writer = platform.feature_writer()
        when_told_to_stop(writer.stop)
        writer.run()
        return
    stop = Flag()
    when_told_to_stop(stop.set)
    serve_partitions(platform.partition_writers(_numbers(chosen, platform.settings.streams)), stop)


def _numbers(text: str, streams: int) -> list[int]:
    try:
        numbers = sorted({int(number) for number in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or not 0 <= numbers[0] <= numbers[-1] < streams:
        raise ConfigError(f"--partitions {text} names no partitions; write numbers from 0 to {streams - 1}, as in 0,1")
    return numbers


if __name__ == "__main__":
    with in_words(to_standard_error, traces=True):
        main()
