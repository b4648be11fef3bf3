"""Real and mutated mail: whatever the bytes, one message out, the same each time, in bounded time."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.ingest.parse import parse_message

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def members(archive: str, step: int = 1) -> Iterator[tuple[str, bytes]]:
    path = DATA / archive
    if not path.exists():
        pytest.skip(f"{archive} is not beside the checkout")
    with path.open("rb") as packed:
        stream = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(packed)
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for number, member in enumerate(m for m in tar if m.isfile()):
                if number % step == 0:
                    content = tar.extractfile(member)
                    assert content is not None
                    yield member.name, content.read()


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from strings(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from strings(getattr(value, field.name))


def check(raw: bytes) -> Message:
    message = parse_message(raw, trusted_authserv_ids=frozenset({"mx.example"}))
    assert all(defect.code != "parser_failed" for defect in message.defects), message.defects
    for text in strings(message):
        text.encode("utf-8")
        assert "\0" not in text
    assert message.size == len(raw)
    return message


def test_every_tortured_message_parses() -> None:
    count = 0
    for _, raw in members("mime_torture.tar.zst"):
        check(raw)
        count += 1
    assert count == 1299


def test_sampled_messages_parse_to_what_mail_has() -> None:
    found = Counter[str]()
    for name, raw in members("trec07p.tar.zst", step=50):
        if "/data/" not in name:
            continue
        message = check(raw)
        found["messages"] += 1
        found["sender"] += bool(message.sender.address)
        found["recipient"] += bool(message.recipients)
        found["timed"] += message.time_source == "mbox_from"
        found["hops"] += bool(message.hops and message.hops[0].received_at_us)
    assert found["messages"] > 1_500
    assert min(found.values()) >= 0.99 * found["messages"]


@pytest.mark.verify
def test_every_message_parses_and_none_is_slow() -> None:
    defects = Counter[str]()
    times: list[float] = []
    for name, raw in members("trec07p.tar.zst"):
        if "/data/" not in name:
            continue
        start = time.thread_time()
        message = parse_message(raw)
        times.append(time.thread_time() - start)
        defects.update({defect.code for defect in message.defects})
    times.sort()
    print(f"\n{len(times)} messages; mean {1e3 * sum(times) / len(times):.3f} ms, ", end="")
    print(f"p99 {1e3 * times[len(times) * 99 // 100]:.2f} ms, max {1e3 * times[-1]:.1f} ms")
    for code, count in defects.most_common():
        print(f"{count:6d} {code}")
    assert len(times) == 75_419
    assert defects["parser_failed"] == 0
    assert times[-1] < 1.0


SEEDS = (
    b"From ann@x.example Sun Apr  8 13:07:32 2007\nReceived: from a (b [192.0.2.1]) by c for <d@e.example>;\n"
    b" Sun, 8 Apr 2007 13:07:21 -0400\nFrom: =?utf-8?B?R3LDvMOfZQ==?= <ann@x.example>\n"
    b"To: G: a@b.example, c;, (x) <y@z>\n"
    b"Date: Sun, 8 Apr 2007 13:07:21 +0000\nAuthentication-Results: mx.example; dkim=pass header.d=x.example\n"
    b'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/html; charset=utf-16\n\n'
    b'<p style="display:none">x</p><a href="http://u@[::1]/">y</a>&#xd800;<blockquote type=cite>\n--b\n'
    b"Content-Type: text/plain; charset=utf-7\n\n+2AA- On 1 Jan, A wrote:\n> b\n--b\nContent-Type: message/rfc822\n\n"
    b"Subject: =?utf-8?q?=ff?=\n\nhi\n--b\nContent-Type: application/zip; name*0*=utf-8''%ff\n"
    b"Content-Transfer-Encoding: base64\n\nUEsDBBQAAAAA\n--b--\n",
    b"Subject: a\r\n b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"=C3=A9 www.x.example =\r\n-----Original Message-----\r\n",
)
PIECES = st.sampled_from(
    [b"=?utf-7?b?", b"?=", b'"', b"(", b"<", b">", b"\n", b"\r", b"\0", b"\xff", b"--b", b":", b";", b"charset=utf-16",
     b"&#xd800;", b"+2AA-", b"\xed\xa0\x80", b"9" * 400, b"<script>", b"<!--", b"%00", b"http://", b"xn--", b"Date: 99"]
)  # fmt: skip


@settings(max_examples=400, deadline=2_000, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=400))
def test_any_bytes_make_a_message(raw: bytes) -> None:
    assert check(raw) == check(raw)


@settings(max_examples=600, deadline=2_000, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), st.one_of(PIECES, st.binary(max_size=6))), max_size=12),
)
def test_mutated_messages_make_a_message(seed: bytes, edits: list[tuple[float, int, bytes]]) -> None:
    raw = seed
    for where, cut, piece in edits:
        at = int(where * len(raw))
        raw = raw[:at] + piece + raw[at + cut :]
    assert check(raw) == check(raw)


@settings(max_examples=200)
@given(
    st.text(max_size=60), st.one_of(st.none(), st.integers(-(2**63), 2**63)), st.lists(st.text(max_size=30), max_size=3)
)
def test_any_envelope_is_taken(mail_from: str, received_at_us: int | None, rcpt_to: list[str]) -> None:
    message = parse_message(b"\n\nhi", Envelope(received_at_us, mail_from, tuple(rcpt_to)))
    for text in strings(message):
        text.encode("utf-8")


def with_type(content_type: bytes, body: bytes) -> bytes:
    return b"From: a@b.example\nContent-Type: " + content_type + b"\n\n" + body


HARD = {
    "formatting elements never closed": with_type(b"text/html", b"<b x=1><i>" * 20_000 + b"<p>a" * 60_000),
    "end tags that match nothing near": with_type(b"text/html", b"<b><div>" + b"<span>" * 250 + b"</b>" * 50_000),
    "quotes never closed": with_type(b"text/html", b'<a b="' * 100_000),
    "one long attribute": with_type(b"text/html", b"<a hidden " + b"a" * 900_000 + b">"),
    "long style": with_type(b"text/html", b'<p style="font-size:' + b"0" * 900_000 + b'">'),
    "comments never closed": with_type(b"text/html", b"<!--" * 200_000),
    "scripts never closed": with_type(b"text/html", b"<script></scriptx" * 50_000),
    "brackets in links": with_type(b"text/plain", (b"http://a.example/" + b")" * 3_900 + b" ") * 200),
    "attributions": with_type(b"text/plain", (b"On " + b"wrote " * 90 + b":\nfoo\n") * 1_500),
    "header blocks": with_type(b"text/plain", b"From: x\n" * 100_000),
    "blanks": with_type(b"text/plain", b" " * 900_000),
    "delimiters": with_type(b'multipart/mixed; boundary="a"', b"--a\n" * 200_000),
    "delimiters with tails": with_type(b'multipart/mixed; boundary="a"', (b"\n--a" + b" " * 1_000 + b"x") * 900),
    "deep multiparts": b"".join(
        b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(20_000)
    ),
    "deep messages": b"Content-Type: message/rfc822\n\n" * 20_000,
    "brackets in From": b"From: " + b"(<" * 15_000 + b"\n\n",
    "quotes in From": b"From: " + b'"\\' * 15_000 + b"\n\n",
    "many recipients": b"".join(b"To: " + b"a@b.example," * 2_000 + b"\n" for _ in range(10)) + b"\n",
    "encoded words": b"".join(
        b"Subject: " + b"".join(b"=?x%d-%d?q?a?= " % (a, b) for b in range(2_000)) + b"\n" for a in range(8)
    ),
    "folding": b"Subject: a" + b"\n " * 100_000 + b"\n\n",
    "parameters": with_type(b"text/plain" + b";a" * 15_000, b""),
    "Received": b"".join(b"Received: from x by y" + b" for <x" * 280 + b"; 1\n" for _ in range(130)) + b"\n",
    "addresses of numbers": with_type(b"text/plain", b"".join(b"http://0x%x.1.1/ " % n for n in range(5_000))),
}


@pytest.mark.parametrize("name", HARD)
def test_no_message_takes_long(name: str) -> None:
    start = time.thread_time()
    check(HARD[name])
    assert time.thread_time() - start < 2.0


def test_the_same_bytes_are_the_same_message_in_every_process() -> None:
    program = (
        "import sys; from mailwarden.ingest.parse import parse_message;"
        "sys.stdout.write(ascii(parse_message(sys.stdin.buffer.read())))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            input=SEEDS[0],
            capture_output=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
