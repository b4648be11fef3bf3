"""Functions over arrays compiled to machine code by Numba, for loops that NumPy cannot take in one call."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import llvmlite
import llvmlite.binding
import numba

F = TypeVar("F", bound=Callable[..., Any])

_PACKAGE = Path(__file__).parent
_OURS = re.compile(r"[0-9a-f]{16}")
_OLDER_KEPT = 3


def compiled(function: F) -> F:
    """The function, compiled for the types of its arguments at its first call and kept on disk (`kept_in`).

    IEEE arithmetic as written: nothing is reordered, fused or assumed finite, so that a value is the same to the last
    bit in every process; a division by zero gives an infinity or NaN. Indices are not checked: the function checks
    what it reads before it does. Where nothing can be kept it is compiled anew in each process.
    """
    options: dict[str, Any] = {"error_model": "numpy"}
    if _FOLDER is None:
        plain: F = numba.njit(**options)(function)
        return plain
    # Numba takes the folder from its settings when a function is decorated, and from nowhere else.
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(_FOLDER)
    try:
        made: Any = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # "no locator available": the folder has gone, or cannot be written any more.
        made = numba.njit(**options)(function)
    else:
        made._cache = _Shared(made._cache, _FOLDER / "lock")
    finally:
        numba.config.CACHE_DIR = before
    found: F = made
    return found


class _Shared:
    """Numba's cache of one function, for processes that start at once: one writes at a time, and damage is mended.

    Numba names what it keeps by counting what is there, reads and writes without a lock, and lets a full disk or a
    file cut off fail the call.
    """

    def __init__(self, cache: Any, lock: Path) -> None:
        self._cache, self._lock = cache, lock

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        try:
            with _held(self._lock, fcntl.LOCK_SH):
                return self._cache.load_overload(signature, target_context)
        except Exception:
            # Whatever a damaged file makes of unpickling: as if it were not there.
            with suppress(OSError), _held(self._lock, fcntl.LOCK_EX):
                self._cache.flush()
            return None

    def save_overload(self, signature: Any, data: Any) -> None:
        with suppress(OSError), _held(self._lock, fcntl.LOCK_EX):
            self._cache.save_overload(signature, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


@contextmanager
def _held(path: Path, kind: int) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, kind)
        yield
    finally:
        os.close(lock)


def kept_in(package: Path = _PACKAGE) -> Path | None:
    """The folder that compiled functions of these sources are kept in; None where none can be written.

    It is below NUMBA_CACHE_DIR, if that is set, else below the package's own `__pycache__`, else below the user's
    cache, and is named after the content of this module and of the domain, the versions of Numba, LLVM and Python, and
    the processor: Numba looks at a function's own file alone, and would go on with the constants and functions of other
    files as they were. A few older folders are left.
    """
    name = _digest(package)
    for base in _bases(package):
        folder = base / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                continue
            os.utime(folder)
        except OSError:
            continue
        for older in _others(folder)[_OLDER_KEPT:]:
            shutil.rmtree(older, ignore_errors=True)
        return folder
    return None


def _bases(package: Path) -> Iterator[Path]:
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        yield Path(named).absolute() / "mailwarden"
        return
    yield package / "__pycache__" / "compiled"
    # A user without a name and a HOME has no folder.
    with suppress(RuntimeError):
        yield Path.home() / ".cache" / "mailwarden" / "compiled"


def _digest(package: Path) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for source in sorted([*package.glob("domain/**/*.py"), package / "compiled.py"]):
        digest.update(source.relative_to(package).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    features = sorted(llvmlite.binding.get_host_cpu_features().items())
    made_by = sys.version, numba.__version__, llvmlite.__version__, llvmlite.binding.get_host_cpu_name(), features
    digest.update(repr(made_by).encode())
    return digest.hexdigest()


def _others(folder: Path) -> list[Path]:
    """Folders of other sources beside one, the last used first."""
    found = []
    with suppress(OSError):
        for other in folder.parent.iterdir():
            if other != folder and _OURS.fullmatch(other.name):
                found.append((other.stat().st_mtime, other))
    return [other for _, other in sorted(found, reverse=True)]


_FOLDER = kept_in()
