"""Directories from CSV and LDIF, and what is said where a file is wrong."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from mailwarden.domain.mail.directory import Entry
from mailwarden.errors import DataError
from mailwarden.ingest.directory_files import read_directory

HEAD = "address,name,aliases,role,department,manager,vip\n"


def test_a_csv_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text(
        "\ufeff" + HEAD + 'Ann@Acme.example,Ann Lee,"ann@home.example; Annie Lee",CFO,,,\n\n'
        'bob@acme.example,"Stone, Bob",,Accountant,Finance,ann@acme.example,no\nparts.example,,,Vendor,,,\n',
        encoding="utf-8",
    )
    ann, bob, parts = read_directory(file)
    assert ann == Entry("ann@acme.example", "Ann Lee", ("ann@home.example", "Annie Lee"), "CFO")
    assert (ann.is_vip, ann.duty, ann.addresses) == (True, "finance", ("ann@acme.example", "ann@home.example"))
    assert (bob.manager, bob.is_vip, bob.duty, bob.name) == ("ann@acme.example", False, "finance", "Stone, Bob")
    assert (parts.address, parts.duty) == ("@parts.example", "partner")


def test_an_ldif_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "export"
    name = base64.b64encode("Änn Lee".encode()).decode()
    file.write_text(
        f"version: 1\n\n# people\ndn: cn=Ann,dc=acme\nmail: ann@acme.example\ndisplayName:: {name}\n"
        "title: Chief Executi\n ve\nproxyAddresses: SMTP:ann@acme.example\nproxyAddresses: smtp:a.lee@acme.example\n\n"
        "dn: cn=Bob,dc=acme\nmail: bob@acme.example\ncn: Bob Stone\nou: HR\nmanager: CN=Ann,dc=acme\n\n"
        "dn: cn=printer,dc=acme\ncn: Printer\n"
    )
    ann, bob = read_directory(file)
    assert ann == Entry("ann@acme.example", "Änn Lee", ("a.lee@acme.example",), "Chief Executive")
    assert ann.is_vip
    assert bob == Entry("bob@acme.example", "Bob Stone", department="HR", manager="ann@acme.example")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["line 1", "'address' is missing"]),
        ("adress,name\n", ["line 1", "'adress'", "Did you mean 'address'"]),
        ("address,name,name\n", ["'name' stands twice"]),
        (HEAD, ["no entry", "--clear"]),
        (HEAD + "ann,Ann Lee,,,,,\n", ["line 2", "'address'", "'ann' is no address", "name@example.com"]),
        (HEAD + ",Ann Lee,,,,,\n", ["line 2", "'address': is empty"]),
        (HEAD + "ann@acme.example,,,,,,\n", ["line 2", "'name': is empty"]),
        (HEAD + "ann@acme.example,Ann\n", ["line 2", "2 fields", "quotes"]),
        (HEAD + "a@a.example,A B,,,,,maybe\n", ["line 2", "'vip'", "'maybe' is neither yes nor no"]),
        (HEAD + "a@a.example,A B,,,,boss,\n", ["line 2", "'manager'", "'boss' is no address"]),
        (HEAD + "a@a.example,A B,,,,,\nb@a.example,B C,A@a.example,,,,\n", ["line 3", "'aliases'", "line 2 already"]),
        (HEAD + f"a@a.example,{'x' * 300},,,,,\n", ["line 2", "'name'", "longer than 256"]),
        (HEAD + "com,X,,vendor,,,\n", ["line 2", "'address'", "everybody registers"]),
        ("dn: cn=a\nmail: nobody\ncn: A B\n", ["line 1", "'mail'", "'nobody' is no address"]),
        ("dn: cn=a\nno colon here\n", ["line 2", "attribute: value"]),
        ("dn: cn=a\nchangetype: modify\n", ["line 2", "no entry"]),
        ("dn: cn=a\ncn:: %%%\n", ["line 2", "base 64"]),
    ],
)
def test_what_is_wrong_is_said_with_line_field_and_mend(tmp_path: Path, text: str, said: list[str]) -> None:
    file = tmp_path / "people"
    file.write_text(text)
    with pytest.raises(DataError) as caught:
        read_directory(file)
    assert all(word in str(caught.value) for word in [str(file), *said]), caught.value


def test_another_encoding_is_said(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_bytes(HEAD.encode() + "ann@acme.example,Änn,,,,,\n".encode("latin-1"))
    with pytest.raises(DataError, match="line 2: it is not UTF-8"):
        read_directory(file)
