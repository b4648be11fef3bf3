"""`python -m mailwarden_services.signals`: the signal worker of a home, at low priority."""

from __future__ import annotations

import os
from threading import Event as Flag

from mailwarden import logs
from mailwarden.settings import Settings
from mailwarden.stores.spool import Spool
from mailwarden_services.allocator import give_back_freed_memory
from mailwarden_services.ending import in_words, to_standard_error, when_told_to_stop
from mailwarden_services.signals.worker import SignalWorker

NICENESS = 10


def main() -> None:
    """Run until SIGTERM or SIGINT; what is not read by then is read after the next start."""
    logs.configure()
    give_back_freed_memory()
    settings = Settings()
    os.nice(NICENESS)
    stop = Flag()
    when_told_to_stop(stop.set)
    with Spool(settings.found_path, fsync=settings.spool_fsync) as found:
        SignalWorker(settings.spool_path, found).run(stop)


if __name__ == "__main__":
    with in_words(to_standard_error, traces=True):
        main()
