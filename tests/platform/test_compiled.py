from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mailwarden import compiled
from mailwarden.compiled import kept_in

RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from mailwarden.domain.aggregates.windows import LATENESS_US, effective_time
from mailwarden.compiled import compiled

function = compiled(effective_time)
print(function(0, 10 * LATENESS_US) // 1_000_000, sum(function.stats.cache_hits.values()))
"""


def copy_of_the_package(to: Path) -> Path:
    """The sources that are compiled, in a folder of their own."""
    package = to / "mailwarden"
    (package / "domain" / "aggregates").mkdir(parents=True)
    for source in (
        "__init__.py",
        "compiled.py",
        "domain/__init__.py",
        "domain/aggregates/__init__.py",
        "domain/aggregates/windows.py",
    ):
        shutil.copy(Path(compiled.__file__).parent / source, package / source)
    return package


def started(folder: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-B", "-c", RUN, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder / "home"), **env},
    )


def ended(process: subprocess.Popen[str]) -> list[int]:
    """Seconds that a compiled function gives, and how often it was found compiled."""
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return [int(word) for word in printed.split()]


def run(folder: Path, **env: str) -> list[int]:
    return ended(started(folder, **env))


def test_functions_are_kept_and_compiled_anew_when_any_source_of_theirs_changes(tmp_path: Path) -> None:
    package = copy_of_the_package(tmp_path)
    assert run(tmp_path) == [9 * 86_400, 0]
    assert run(tmp_path) == [9 * 86_400, 1]
    windows = package / "domain" / "aggregates" / "windows.py"
    windows.write_text(windows.read_text().replace("LATENESS_US = DAY_US", "LATENESS_US = HOUR_US"))
    assert run(tmp_path) == [9 * 3_600, 0]


@pytest.mark.parametrize("named", [True, False])
def test_without_a_place_to_keep_them_they_are_compiled_all_the_same(tmp_path: Path, named: bool) -> None:
    package = copy_of_the_package(tmp_path)
    (package / "__pycache__").write_text("no folder")
    (tmp_path / "home").write_text("no folder")
    env = {"NUMBA_CACHE_DIR": str(tmp_path / "home" / "cache")} if named else {}
    assert run(tmp_path, **env) == [9 * 86_400, 0]


def test_a_user_without_a_home_is_none_that_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    package = copy_of_the_package(tmp_path)
    found = kept_in(package)
    assert found is not None and found.parent == package / "__pycache__" / "compiled"
    shutil.rmtree(package / "__pycache__")
    (package / "__pycache__").write_text("no folder")
    assert kept_in(package) is None


def test_a_named_folder_is_used_and_of_ours_few_older_ones_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = copy_of_the_package(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "cache")
    others = [tmp_path / "cache" / "mailwarden" / f"other{i}" for i in range(5)]
    for other in others:
        other.mkdir(parents=True)
    found = []
    for change in range(8):
        with (package / "domain" / "aggregates" / "windows.py").open("a") as source:
            source.write(f"# {change}\n")
        found.append(kept_in(package))
        assert found[-1] is not None and found[-1].is_absolute()
        os.utime(found[-1], (change, change))
    assert len(set(found)) == 8
    assert set((tmp_path / "cache" / "mailwarden").iterdir()) == {*others, *found[-4:]}
    assert kept_in(package) == found[-1]


def test_processes_that_start_at_once_share_one_folder(tmp_path: Path) -> None:
    copy_of_the_package(tmp_path)
    several = [started(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")) for _ in range(4)]
    assert [ended(process)[0] for process in several] == [9 * 86_400] * 4
    assert len(list((tmp_path / "cache" / "mailwarden").iterdir())) == 1
    assert run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")) == [9 * 86_400, 1]


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_what_was_cut_off_on_disk_is_compiled_and_kept_again(tmp_path: Path, suffix: str) -> None:
    copy_of_the_package(tmp_path)
    env = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    run(tmp_path, **env)
    (kept,) = (tmp_path / "cache").rglob(f"*.{suffix}")
    kept.write_bytes(kept.read_bytes()[:20])
    assert run(tmp_path, **env) == [9 * 86_400, 0]
    assert run(tmp_path, **env) == [9 * 86_400, 1]


@pytest.mark.verify
def test_no_compiled_loop_reads_out_of_bounds(tmp_path: Path) -> None:
    """The tests of every compiled loop once more, with their indices checked."""
    here = Path(__file__).parent
    names = ("finalise", "packed_states", "recent", "as_of", "state", "sequential_reads")
    tests = [str(here / f"test_domain_aggregates_{name}.py") for name in names]
    tests.append(str(here / "online" / "test_stores_online_folding.py"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "not verify", *tests],
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)},
        cwd=here.parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
