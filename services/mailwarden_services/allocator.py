"""What a long-lived process does with memory that it has freed: give it back (glibc's mallopt(3), malloc_trim(3))."""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_BLOCK_BYTES = 1 << 20
_ARENAS = 2

_LIBRARIES = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0,narenas:1",
}
"""Allocators of Arrow's and of Delta's library (jemalloc(3)): by default each keeps what its largest batch took."""


def have_libraries_give_back() -> None:
    """Have libraries with allocators of their own do so too, in this process and in those that it starts.

    Before they are imported. What is set in the environment stands.
    """
    for name, value in _LIBRARIES.items():
        os.environ.setdefault(name, value)


def give_back_now() -> None:
    """Give back what lies free between blocks in use, as after much was read; takes milliseconds."""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def give_back_freed_memory() -> None:
    """Have blocks of a megabyte or more come from the system and go back to it, and few threads share an arena.

    By default the first large message that is freed moves the threshold up to 32 MiB: what follows comes from the heap,
    whose end a small block keeps from shrinking, and each thread has a heap of its own. Once a process, at its start;
    does nothing where the C library is another one.
    """
    if sys.platform != "linux":
        return
    try:
        set_option = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    set_option(_M_ARENA_MAX, _ARENAS)
    set_option(_M_MMAP_THRESHOLD, _BLOCK_BYTES)
    set_option(_M_TRIM_THRESHOLD, _BLOCK_BYTES)
