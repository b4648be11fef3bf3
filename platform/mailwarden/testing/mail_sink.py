"""A mail server for tests, by SMTP or LMTP, that keeps what it is given and replies as it is told."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal


@dataclass
class MailSink:
    """A running sink. transactions: sender, recipients and message of each that was accepted. commands: all lines.

    replies: by the start of a command ("RCPT TO:<bob", "DATA", "." for the end of a message), what is answered in place
    of a good reply; a reply of "" ends the connection without a word, at the end of a message after it was kept.
    """

    port: int = 0
    protocol: Literal["smtp", "lmtp"] = "smtp"
    extensions: tuple[str, ...] = ("8BITMIME", "SMTPUTF8", "DSN", "XFORWARD NAME ADDR HELO IDENT")
    replies: dict[str, str] = field(default_factory=dict)
    transactions: list[tuple[str, tuple[str, ...], bytes]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    at_end: Callable[[], None] = lambda: None

    def reply(self, line: str, good: str) -> str:
        """What is answered to a line."""
        return next((reply for start, reply in self.replies.items() if line.startswith(start)), good)


@contextmanager
def mail_sink(
    protocol: Literal["smtp", "lmtp"] = "smtp", replies: Mapping[str, str] | None = None
) -> Iterator[MailSink]:
    """Run a sink on a loopback port while the block runs."""
    sink = MailSink(protocol=protocol, replies=dict(replies or {}))

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                self._say("220 sink")
                sender, recipients = "", list[str]()
                while line := self.rfile.readline().decode("utf-8", "surrogateescape").rstrip("\r\n"):
                    verb = line.partition(" ")[0].upper()
                    line = verb + line[len(verb) :]
                    sink.commands.append(line)
                    if verb in ("EHLO", "LHLO"):
                        good = "\r\n".join(f"250-{one}" for one in ("sink", *sink.extensions)) + "\r\n250 HELP"
                    else:
                        good = {"DATA": "354 go on", "QUIT": "221 bye"}.get(verb, "250 2.0.0 Ok")
                    reply = sink.reply(line, good)
                    self._say(reply)
                    if not reply or verb == "QUIT":
                        return
                    if verb == "MAIL":
                        sender, recipients = line, []
                    elif verb == "RCPT" and reply.startswith("2"):
                        recipients.append(line.partition("<")[2].partition(">")[0])
                    elif verb == "DATA" and reply.startswith("3") and not self._message(sender, recipients):
                        return

        def _message(self, sender: str, recipients: list[str]) -> bool:
            lines = []
            while (line := self.rfile.readline()) != b".\r\n":
                if not line:
                    return False
                lines.append(line[1:] if line.startswith(b".") else line)
            said = [sink.reply(f". {one}", "250 2.0.0 kept") for one in recipients]
            said = said if sink.protocol == "lmtp" else said[:1]
            taken = [one for one, reply in zip(recipients, said, strict=False) if reply[:1] in ("2", "")]
            if taken:
                kept = recipients if sink.protocol == "smtp" else taken
                sink.transactions.append((sender.partition("<")[2].partition(">")[0], tuple(kept), b"".join(lines)))
            sink.at_end()
            if "" in said:
                return False
            for reply in said:
                self._say(reply)
            return True

        def _say(self, reply: str) -> None:
            if reply:
                self.wfile.write(reply.encode() + b"\r\n")

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        sink.port = int(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield sink
        finally:
            server.shutdown()
            thread.join()
