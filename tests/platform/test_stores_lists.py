"""Lists as files: those that ship, a site's own in their place or on top, and what is refused with which words."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from mailwarden.domain.mail.addresses import registrable_domain
from mailwarden.errors import ConfigError
from mailwarden.stores import list_files
from mailwarden.stores.list_files import HEADER, read_list_file
from mailwarden.stores.lists import LISTS, SHIPPED, load_lists

HEAD = "# name: free_mail\n# version: 7\n"
REDIRECTORS = "# name: redirectors\n# version: 1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder of lists."""
    folder = tmp_path / "lists"
    folder.mkdir()
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        load_lists(folder)
    return str(raised.value)


def test_what_ships_is_whole() -> None:
    lists = load_lists()
    assert set(lists.fingerprints) == set(LISTS) == set(lists.origins)
    assert lists.holds("free_mail", "gmail.com") and not lists.holds("free_mail", "example.com")
    assert lists.holds("disposable", "mailinator.com") and lists.holds("shorteners", "bit.ly")
    assert lists.holds("free_hosts", "some-shop.github.io") and not lists.holds("free_hosts", "google.com")
    assert lists.ranks["google.com"] == 1 and sorted(lists.ranks.values()) == list(range(1, len(lists.ranks) + 1))
    assert lists.brands["dhl"] >= {"dhl.com", "dhl.de"}
    for origin in lists.origins.values():
        assert origin.entries > 40 and origin.duplicates == 0, origin
        assert origin.version and origin.source and origin.licence, origin


def test_a_shipped_file_says_all_that_a_header_can() -> None:
    for path in SHIPPED.iterdir():
        header = read_list_file(path, path.stem, LISTS[path.stem]).header
        assert set(header) == set(HEADER) - {"mode"}, path


def test_mail_that_anyone_may_send_proves_no_brand() -> None:
    lists = load_lists()
    for brand, domains in lists.brands.items():
        for domain in domains:
            assert registrable_domain(domain), (brand, domain)
            assert not lists.holds("free_mail", domain), (brand, domain)


def test_a_file_takes_the_place_of_the_list_that_ships(folder: Path) -> None:
    text = "\ufeff" + HEAD.replace("\n", "\r\n") + "\r\nPosta.Example. # ours\r\nBÜCHER.example\r\nposta.example\r\n"
    (folder / "free_mail.txt").write_bytes(text.encode())
    (folder / "README.md").write_text("what these are")
    (folder / ".hidden").mkdir()
    lists, shipped = load_lists(folder), load_lists()
    assert lists.names["free_mail"] == {"posta.example", "xn--bcher-kva.example"}
    origin = lists.origins["free_mail"]
    assert (origin.how, origin.version, origin.entries, origin.duplicates) == ("replaced", "7", 2, 1)
    assert lists.names["shorteners"] == shipped.names["shorteners"]
    assert lists.fingerprint != shipped.fingerprint
    assert lists.fingerprint_of(["shorteners"]) == shipped.fingerprint_of(["shorteners"])


def test_a_file_extends_the_list_that_ships(folder: Path) -> None:
    (folder / "free_mail.txt").write_text(HEAD + "# mode: extend\n\nposta.example\n-gmx.net\n-not.example\ngmail.com\n")
    lists, shipped = load_lists(folder), load_lists()
    assert lists.names["free_mail"] == shipped.names["free_mail"] - {"gmx.net"} | {"posta.example"}
    origin = lists.origins["free_mail"]
    assert (origin.how, origin.version) == ("extended", shipped.origins["free_mail"].version + "+7")
    assert (origin.duplicates, origin.without_effect) == (1, ("not.example",))


def test_a_version_alone_is_another_fingerprint_and_a_comment_is_none(folder: Path) -> None:
    file = folder / "free_mail.txt"
    file.write_text(HEAD + "\nposta.example\n")
    first = load_lists(folder).fingerprint
    file.write_text(HEAD + "\n# of the post office\nposta.example\n")
    assert load_lists(folder).fingerprint == first
    file.write_text(HEAD.replace("7", "8") + "\nposta.example\n")
    assert load_lists(folder).fingerprint != first


def test_brands_gather_their_domains(folder: Path) -> None:
    (folder / "brands.txt").write_text(
        "# name: brands\n# version: 1\n# mode: extend\n\n"
        "Acme  Bank: acme.example\nacme bank: acme.example acme.test\nDHL: dhl.example\n-PayPal\n"
    )
    lists = load_lists(folder)
    assert lists.brands["acme bank"] == {"acme.example", "acme.test"}
    assert lists.brands["dhl"] == load_lists().brands["dhl"] | {"dhl.example"}
    assert "paypal" not in lists.brands


def test_ranks_are_places_or_what_stands_before_the_comma(folder: Path) -> None:
    head = "# name: popular\n# version: 1\n"
    (folder / "popular.txt").write_text(head + "b.example\nwww.a.example\na.example\n")
    lists = load_lists(folder)
    assert lists.ranks == {"b.example": 1, "a.example": 2} and lists.origins["popular"].duplicates == 1
    (folder / "popular.txt").write_text(head + "1,b.example\n10,www.a.example\n12,a.example\n")
    assert load_lists(folder).ranks == {"b.example": 1, "a.example": 10}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("freemail.txt", HEAD, "did you mean free_mail.txt?"),
        ("free_mail.csv", HEAD, "did you mean free_mail.txt?"),
        ("whatever.txt", HEAD, "lists are: free_mail.txt, disposable.txt"),
        ("free_mail.txt", "posta.example\n", "line 1: the header lacks its name; begin the file with a line `# name:"),
        ("free_mail.txt", "# name: free_mail\nposta.example\n", "line 1: the header lacks its version"),
        ("free_mail.txt", "# name: popular\n# version: 1\n", "line 1: the header says that this is 'popular'"),
        ("free_mail.txt", HEAD + "# mod: extend\n", "line 3: a header has no 'mod'; did you mean 'mode'?"),
        ("free_mail.txt", HEAD + "# mode: add\n", "line 3: 'add' is no mode; write `replace` or `extend`"),
        ("free_mail.txt", HEAD + "# version: 8\n", "line 3: the header says 'version' twice"),
        ("free_mail.txt", HEAD + "# date: yesterday\n", "line 3: 'yesterday' is no date"),
        ("free_mail.txt", "# name: free_mail\n# version: a b\n", "line 2: 'a b' is no version"),
        ("free_mail.txt", HEAD + "\n", "there is no entry"),
        ("free_mail.txt", HEAD + "\nposta.example\nposta\n", "line 5: 'posta' is no domain; write one domain a line"),
        ("free_mail.txt", HEAD + "ann@posta.example\n", "line 3: 'ann@posta.example' is no domain"),
        ("free_mail.txt", HEAD + "*.posta.example\n", "line 3: '*.posta.example' is no domain"),
        ("free_mail.txt", HEAD + "192.0.2.1\n", "line 3: '192.0.2.1' is no domain"),
        ("free_mail.txt", HEAD + "co.uk\n", "line 3: 'co.uk' is a public suffix"),
        ("free_mail.txt", HEAD + "-gmx.net\n", "line 3: '-gmx.net' takes an entry out; say `# mode: extend`"),
        ("free_mail.txt", HEAD + "\nposta.example\n\udcff.example\n", "line 5: not UTF-8; save the file as UTF-8"),
        ("brands.txt", "# name: brands\n# version: 1\nAcme\n", "line 3: 'Acme' is no brand with its domains"),
        ("brands.txt", "# name: brands\n# version: 1\nAcme: acme\n", "line 3: 'acme' is no domain"),
        ("redirectors.txt", REDIRECTORS + "go: redirector query u\n", "line 3: 'go' is no host with a path"),
        ("redirectors.txt", REDIRECTORS + "co.uk/url: redirector query u\n", "line 3: 'co.uk' is a public suffix"),
        (
            "redirectors.txt",
            REDIRECTORS + "a.example: friend query u\n",
            "line 3: 'friend query u' is not how a target",
        ),
        (
            "redirectors.txt",
            REDIRECTORS + "a.example: rewriter magic\n",
            "line 3: 'rewriter magic' is not how a target",
        ),
        ("redirectors.txt", REDIRECTORS + "a.example: rewriter query\n", "names no field"),
        ("redirectors.txt", REDIRECTORS + "a.example\n", "line 3: 'a.example' does not say where the target stands"),
        (
            "redirectors.txt",
            REDIRECTORS + "a.example: rewriter path\nA.example: rewriter amp\n",
            "line 4: 'a.example' stands twice",
        ),
        ("popular.txt", "# name: popular\n# version: 1\nx,a.example\n", "line 3: 'x' is no rank"),
        ("popular.txt", "# name: popular\n# version: 1\n1,a.example\nb.example\n", "line 4: some lines have a rank"),
        ("popular.txt", "# name: popular\n# version: 1\n2,a.example\n2,b.example\n", "line 4: rank 2 comes after 2"),
        ("popular.txt", "# name: popular\n# version: 1\n# mode: extend\na.example\n", "ranks of two lists do not mix"),
    ],
)
def test_a_bad_file_is_refused_by_file_line_and_mend(folder: Path, name: str, text: str, words: str) -> None:
    (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    said = refusal(folder)
    assert words in said and str(folder / name) in said


def test_wrong_lines_are_named_together(folder: Path) -> None:
    lines = ["good.example", *(f"bad{number}" for number in range(8)), "fine.example"]
    (folder / "free_mail.txt").write_text(HEAD + "\n".join(lines))
    said = refusal(folder)
    assert "line 4: 'bad0' is no domain; write one domain a line, as example.com (also line 5: 'bad1'" in said
    assert "line 8: 'bad4'" in said and "bad5" not in said and said.endswith("3 lines more)")


def test_what_is_too_large_or_no_file_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "free_mail.txt").write_text(HEAD + "a.example\n" * 200)
    monkeypatch.setattr(list_files, "MAX_LIST_BYTES", 1000)
    with pytest.raises(ConfigError, match="more than"):
        read_list_file(folder / "free_mail.txt", "free_mail", LISTS["free_mail"])
    (folder / "free_mail.txt").unlink()
    (folder / "brands.txt").mkdir()
    assert "is no list" in refusal(folder)
    assert "unset MAILWARDEN_LISTS" in refusal(folder / "not-there")


def test_another_process_is_sent_a_name_and_loads_the_same(folder: Path) -> None:
    file = folder / "free_mail.txt"
    file.write_text(HEAD + "\nposta.example\n")
    lists = load_lists(folder)
    sent = pickle.dumps(lists)
    assert len(sent) < 500
    script = (
        "import pickle, sys\n"
        "lists = pickle.load(sys.stdin.buffer)\n"
        "print(lists.fingerprint, lists.holds('free_mail', 'posta.example'))"
    )

    def elsewhere() -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([sys.executable, "-c", script], input=sent, capture_output=True, env=os.environ)

    assert elsewhere().stdout.decode().split() == [lists.fingerprint, "True"]
    file.write_text(HEAD + "\nother.example\n")
    refused = elsewhere()
    assert refused.returncode and b"put the same files on all machines" in refused.stderr


def test_some_of_the_lists_are_sent_as_cheaply_and_are_all_that_arrives(folder: Path) -> None:
    some = load_lists().only(("disposable", "brands"))
    sent = pickle.dumps(some)
    assert len(sent) < 500
    arrived = pickle.loads(sent)
    assert arrived == some and arrived.fingerprint == load_lists().fingerprint
    assert set(arrived.fingerprints) == {"disposable", "brands"} and arrived.is_brand("dhl")
    with pytest.raises(KeyError, match="free_mail"):
        arrived.holds("free_mail", "gmail.com")


def test_copies_in_one_process_are_one(folder: Path) -> None:
    sent = pickle.dumps(load_lists())
    assert pickle.loads(sent) is pickle.loads(sent)
    assert pickle.loads(sent) == load_lists()
