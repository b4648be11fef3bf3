"""`python -m mailwarden_services.shard`: one of the shards that `serve` starts beside its own."""

from __future__ import annotations

import argparse
import socket

from mailwarden import logs
from mailwarden.settings import Settings
from mailwarden_services.serving import serve_shard


def main() -> None:
    """Run until SIGTERM; what was accepted is on disk."""
    parser = argparse.ArgumentParser(prog="python -m mailwarden_services.shard")
    parser.add_argument("--fd", type=int, required=True, help="the listening socket, as it was handed on")
    chosen = parser.parse_args()
    logs.configure()
    serve_shard(Settings(), socket.socket(fileno=chosen.fd))


if __name__ == "__main__":
    main()
