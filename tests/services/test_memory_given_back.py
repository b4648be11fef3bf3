"""Memory: libraries keep none that is free, and views are found once for all processes of a service."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mailwarden.settings import Settings
from mailwarden_services.allocator import have_libraries_give_back
from mailwarden_services.bootstrap import Platform, handed_views, with_views


def test_what_the_environment_says_of_allocators_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "mimalloc")
    monkeypatch.setenv("_RJEM_MALLOC_CONF", "")
    monkeypatch.delenv("_RJEM_MALLOC_CONF")
    have_libraries_give_back()
    assert os.environ["ARROW_DEFAULT_MEMORY_POOL"] == "mimalloc"
    assert "dirty_decay_ms:0" in os.environ["_RJEM_MALLOC_CONF"]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc_trim and proc(5) are looked at")
def test_what_lies_free_between_blocks_goes_back_to_the_system() -> None:
    # In a process of its own: what others in this one have freed before would be found too, or taken.
    code = """
import os
from pathlib import Path
from mailwarden_services.allocator import give_back_now
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
kept, blocks = [], []
for _ in range(2_000):
    blocks.append(bytearray(64 << 10))
    kept.append(bytearray(700))
del blocks
before = resident()
give_back_now()
print(before - resident(), len(kept))
"""
    given, kept = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(given) > 64 << 20
    assert kept == "2000"


def test_handed_views_are_the_same_and_can_be_read_again_and_import_no_feast(tmp_path: Path) -> None:
    platform = Platform(Settings(home=tmp_path / "home"))
    file = handed_views(platform)
    try:
        code = (
            "import sys; from mailwarden.settings import Settings\n"
            "from mailwarden_services.bootstrap import with_views\n"
            "p = with_views(Settings(home=sys.argv[1]), int(sys.argv[2])); "
            "print(len(p.activity), len(p.content_views), 'feast' in sys.modules)"
        )
        words = [sys.executable, "-c", code, str(tmp_path / "home"), str(file)]
        told = subprocess.run(words, capture_output=True, text=True, check=True, pass_fds=[file]).stdout.split()
        assert told == [str(len(platform.activity)), str(len(platform.content_views)), "False"]
        # As by a writer that is started again.
        again = with_views(platform.settings, os.dup(file))
        assert again.activity == platform.activity
        assert [view.name for view in again.content_views] == [view.name for view in platform.content_views]
    finally:
        os.close(file)
