"""`python -m mailwarden_services.feature_writer`: one feature writer, until SIGTERM."""

from __future__ import annotations

import signal

from mailwarden import logs
from mailwarden.settings import Settings
from mailwarden_services.bootstrap import Platform


def main() -> None:
    """Run until SIGTERM or SIGINT; what is not folded or logged by then stays in the spool."""
    logs.configure()
    writer = Platform(Settings()).feature_writer()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: writer.stop())
    writer.run()


if __name__ == "__main__":
    main()
