from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from mailwarden.errors import DataError
from mailwarden.ingest.archives import members_of
from mailwarden.ingest.sources import RawMessage, open_source

FROM_LINE = b"From ann@parts.example  Sun Apr  8 13:07:32 2007\n"
FROM_US = 1_176_037_652_000_000  # 13:07:32 UTC
MAIL = b"From: ann@parts.example\nSubject: %d\n\nbody %d\n"


def mail(number: int) -> bytes:
    return MAIL % (number, number)


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def packed(data: bytes, kind: str) -> bytes:
    if kind == "tar":
        return data
    if kind == "tar.zst":
        # A window beyond 2**27 is what decompressors refuse by default.
        parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=28, enable_ldm=True)
        return zstandard.ZstdCompressor(compression_params=parameters).compress(data)

    if kind == "tar.gz":
        return gzip.compress(data)
    return bz2.compress(data) if kind == "tar.bz2" else lzma.compress(data)


def subjects(messages: list[RawMessage]) -> list[int]:
    return [int(message.raw.split(b"Subject: ")[1].split(b"\n")[0]) for message in messages]


def test_one_message(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(mail(1))
    source = open_source(tmp_path / "a.eml")
    (found,) = source
    assert (found.path, found.raw, found.envelope.received_at_us) == ("a.eml", mail(1), None)
    assert source.full_path(found) == str(tmp_path / "a.eml")
    assert list(source) == [found]


def test_a_leading_from_line_is_the_envelope_and_no_part_of_the_message(tmp_path: Path) -> None:
    (tmp_path / "inmail.1").write_bytes(FROM_LINE + mail(1))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2").write_bytes(
        FROM_LINE + b"Received: by mx.example; Sun, 8 Apr 2007 13:07:21 -0400\n" + mail(2)
    )
    second, first = open_source(tmp_path)
    assert first.raw == mail(1)
    assert first.envelope.received_at_us == FROM_US
    assert (first.envelope.time_source, first.envelope.mail_from) == ("mbox_from", "ann@parts.example")
    # The line has no zone: the receiving host's own is in its Received header.
    assert second.envelope.received_at_us == FROM_US + 4 * 3600 * 1_000_000


def test_a_folder_is_read_in_the_order_people_count(tmp_path: Path) -> None:
    for name, number in (("inmail.10", 10), ("inmail.2", 2), ("inmail.1", 1), ("sub/1", 11)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(mail(number))
    (tmp_path / ".hidden").write_bytes(mail(99))
    (tmp_path / "README.txt").write_bytes(b"A corpus of mail\n\nFrom: 2007\n")
    (tmp_path / "loop").symlink_to(tmp_path)
    source = open_source(tmp_path)
    found = list(source)
    assert subjects(found) == [1, 2, 10, 11]
    assert found[-1].path == "sub/1"
    assert source.skipped == ["README.txt"]


def test_an_mbox_is_split_at_separators_only_and_unquoted(tmp_path: Path) -> None:
    text = (
        mail(1) + b">From here\n>>From there\n\nFrom now on this is text\nFrom a@b.example Sun Apr  8 13:07:32 2007\n"
    )
    (tmp_path / "box").write_bytes(FROM_LINE + text + b"\n" + FROM_LINE.replace(b":32", b":33") + mail(2))
    first, second = open_source(tmp_path / "box")
    assert first.raw == text.replace(b">From", b"From")
    assert first.envelope.received_at_us == FROM_US
    assert second.raw == mail(2)
    assert second.envelope.received_at_us == FROM_US + 1_000_000
    (tmp_path / "in").mkdir()
    (tmp_path / "box").rename(tmp_path / "in" / "x.mbox")
    assert [message.path for message in open_source(tmp_path / "in")] == ["x.mbox/1", "x.mbox/2"]


def test_a_maildir_is_cur_then_new_and_never_tmp(tmp_path: Path) -> None:
    for number, folder in enumerate(("new", "cur", "tmp")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1176.M1P2.host:2,S").write_bytes(mail(number))
    assert [message.path for message in open_source(tmp_path)] == ["cur/1176.M1P2.host:2,S", "new/1176.M1P2.host:2,S"]


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_archives_of_every_packing(tmp_path: Path, kind: str) -> None:
    files = {f"./data/inmail.{n}": FROM_LINE + mail(n) for n in (1, 2, 10)} | {"./index": b"ham data/inmail.1\n"}
    path = tmp_path / f"mail.{kind}"
    path.write_bytes(packed(tar_of(files), kind))
    source = open_source(path)
    found = list(source)
    assert [message.path for message in found] == ["data/inmail.1", "data/inmail.2", "data/inmail.10"]
    assert found[2].raw == mail(10)
    assert source.skipped == ["index"]
    assert source.full_path(found[0]) == "data/inmail.1"


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
@pytest.mark.parametrize("where", [0.2, 0.5, 0.8])
def test_an_archive_that_breaks_off_anywhere_says_where(tmp_path: Path, kind: str, where: float) -> None:
    files = {f"{n}": mail(n) + random.Random(n).randbytes(3000) for n in range(20)}
    path = tmp_path / f"mail.{kind}"
    whole = packed(tar_of(files), kind)
    # A plain tar ends in zeros that tell nothing: cut inside what is before.
    path.write_bytes(whole[: int(len(whole) * where)])
    with pytest.raises(DataError, match=rf"{path} is broken after \S+ "):
        list(open_source(path))


def test_a_tar_that_ends_between_two_members_is_broken(tmp_path: Path) -> None:
    data = tar_of({"1": mail(1), "2": mail(2)})
    (tmp_path / "m.tar").write_bytes(data[:1024])
    with pytest.raises(DataError, match=r"after 1 .*no end mark"):
        list(open_source(tmp_path / "m.tar"))


def test_what_is_not_there_or_no_mail_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_source(tmp_path / "none")
    (tmp_path / "notes").write_bytes(b"Milk, bread\n")
    with pytest.raises(DataError, match="is not mail"):
        list(open_source(tmp_path / "notes"))
    with pytest.raises(DataError, match="holds no mail"):
        list(open_source(tmp_path))
    (tmp_path / "x.tar").write_bytes(b"not a tar" * 200)
    with pytest.raises(DataError, match="broken after its beginning"):
        list(open_source(tmp_path / "x.tar"))


def test_an_archive_is_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.tar"
    path.write_bytes(tar_of({f"{n}": b"x" * 1_000_000 for n in range(60)}))
    tracemalloc.start()
    try:
        assert sum(len(raw) for _, raw in members_of(path)) == 60_000_000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
