"""How a process of ours ends where something is wrong: one line in words, and an exit code that scripts can trust."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

from mailwarden.errors import ConfigError, ContractError, DataError, MailwardenError, NotFound, StoreError

EXIT_CODES = {DataError: 65, NotFound: 66, StoreError: 69, ContractError: 70, ConfigError: 78}
"""What a script can trust: the codes of sysexits.h; 1 for anything else, 2 for a command line that is wrong."""

UNFORESEEN = 1
"""Exit code where a fault is ours, or of a kind that nobody foresaw."""


def exit_code(error: MailwardenError) -> int:
    """The code for an error of ours."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), UNFORESEEN)


def when_told_to_stop(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM and SIGINT, in a thread of its own: a handler that takes a lock, as an event's is, which
    the code that it interrupts holds, would wait for itself."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: Thread(target=stop, daemon=True).start())


@contextmanager
def in_words(say: Callable[[str], None], *, traces: bool = False) -> Iterator[None]:
    """End the process with words and an exit code where what is inside raises.

    say: told one line. traces: let what nobody foresaw go on as it is, with its traceback.
    """
    try:
        yield
    except MailwardenError as error:
        say(f"{type(error).__name__}: {error}")
        sys.exit(exit_code(error))
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT) and traces:
            raise
        # A path of the operator's that nobody foresaw: its name and what the system says of it are all there is to say.
        place = "" if error.filename is None else f"{error.filename}: "
        mend = "give another path, or correct MAILWARDEN_HOME, its permissions or its disk"
        say(f"StoreError: {place}{error.strerror or error}; {mend}")
        sys.exit(EXIT_CODES[StoreError])
    except Exception as error:
        if traces:
            raise
        say(f"{type(error).__name__}: {error}. This is a fault of Mailwarden; `mailwarden -v ...` shows where it is.")
        sys.exit(UNFORESEEN)


def to_standard_error(words: str) -> None:
    """Print a line where a log is read."""
    print(words, file=sys.stderr)
