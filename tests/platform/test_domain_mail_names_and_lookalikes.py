"""Names and domains as a reader takes them: what passes for what, and what does not."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwarden.domain.mail.domain_lookalikes import KnownDomains, edits_between, folded_stem, skeleton_of
from mailwarden.domain.mail.person_names import abbreviated, initials_of, person_of

STEMS = st.text(string.ascii_lowercase, min_size=5, max_size=12)


@pytest.mark.parametrize(
    "written",
    [
        "Robert Müller", "MÜLLER, Robert", "Bob Mueller", "R\u043ebert Muller", "Dr. Robert J. Müller",
        "Robert Müller (CFO)", "Robert Mu\u0308ller via Documents", "'Robert  Müller'", "Rob\u200bert M\u00fcller",
        "R0bert Mu11er", "Robert Müller <r@a.example>",
    ],
)  # fmt: skip
def test_a_name_is_one_however_it_is_written(written: str) -> None:
    assert person_of(written) == person_of("Robert Müller")


@pytest.mark.parametrize("other", ["Robert Miller", "Roberta Müller", "Robert", "", "Müller", "@", "a b c d e f g h"])
def test_another_name_is_another(other: str) -> None:
    assert person_of(other) != person_of("Robert Müller")


@pytest.mark.parametrize("written", ["R. Müller", "Müller, R", "R Mueller"])
def test_an_initial_names_who_bears_it(written: str) -> None:
    assert abbreviated(written) in initials_of("Robert Müller")
    assert abbreviated(written) not in initials_of("Sarah Müller")


@pytest.mark.parametrize(
    "domain",
    [
        "northvvind.example", "n0rthwind.example", "north-wind.example", "northwind.test", "northwnid.example",
        "northwind-billing.example", "northwindpayments.example", "norrthwind.example", "xn--nrthwind-nbh.example",
    ],
)  # fmt: skip
def test_what_passes_for_a_domain_shares_its_skeleton(domain: str) -> None:
    near = KnownDomains(["northwind.example"]).near(domain)
    assert near is not None and (near.domain, near.how) == ("northwind.example", "skeleton")
    assert skeleton_of(domain) == skeleton_of("northwind.example")


def test_few_edits_are_near_and_a_known_domain_is_near_to_none() -> None:
    known = KnownDomains(["northwind.example", "acme.example", "northwind.test"], most_edits=2)
    assert known.near("northwand.example").how == "edit"  # type: ignore[union-attr]
    assert known.near("northwxxnd.example").how == "edit"  # type: ignore[union-attr]
    assert known.near("acne.example") is None, "four letters are too few for an edit"
    assert [known.near(name) for name in ("northwind.test", "harbourside.example", "listen.example", "")] == [None] * 4


@given(STEMS, STEMS)
def test_edits_are_counted_as_the_plain_recursion_counts_them(one: str, other: str) -> None:
    def plain(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        costs = [plain_of(a[1:], b) + 1, plain_of(a, b[1:]) + 1, plain_of(a[1:], b[1:]) + (a[0] != b[0])]
        if len(a) > 1 and len(b) > 1 and a[0] == b[1] and a[1] == b[0]:
            costs.append(plain_of(a[2:], b[2:]) + 1)
        return min(costs)

    held: dict[tuple[str, str], int] = {}

    def plain_of(a: str, b: str) -> int:
        if (a, b) not in held:
            held[a, b] = plain(a, b)
        return held[a, b]

    distance = plain_of(one, other)
    assert edits_between(one, other, 2) == (distance if distance <= 2 else None)


STEM_NAMES = st.sampled_from(["northwind", "tailspin", "fabrikam", "contoso"])


OTHERS = [f"{name}.example" for name in ("adventure", "bellows", "coho", "lamna", "litware", "margie", "proseware",
                                         "relecloud", "trey", "wingtip")]  # fmt: skip


@given(STEM_NAMES, st.integers(0, 8), st.sampled_from("bghkpqxz"), st.sampled_from([1, 2]))
def test_every_single_edit_of_a_known_name_is_found(stem: str, at: int, letter: str, most: int) -> None:
    alone, among = (KnownDomains([f"{stem}.example", *others], most) for others in ([], OTHERS))
    for changed in (stem[:at] + letter + stem[at:], stem[:at] + letter + stem[at + 1 :], stem[:at] + stem[at + 1 :]):
        found = alone.near(f"{changed}.example")
        assert changed == stem or found is not None, changed
        assert among.near(f"{changed}.example") == alone.near(f"{changed}.example") == found


@given(STEM_NAMES, st.integers(0, 8), st.integers(0, 8), st.text("abno", min_size=2, max_size=2))
def test_two_edits_are_found_among_few_as_among_many(stem: str, one: int, two: int, letters: str) -> None:
    changed = stem[:one] + letters[0] + stem[one + 1 :]
    changed = changed[:two] + letters[1] + changed[two:]
    alone, among = (KnownDomains([f"{stem}.example", *others], 2) for others in ([], OTHERS))
    found = alone.near(f"{changed}.test")
    assert among.near(f"{changed}.test") == found
    folded = [folded_stem(f"{name}.test") for name in (changed, stem)]
    most = min(sum(len(name) >= least for least in (5, 9)) for name in folded)
    assert found is not None or edits_between(*folded, most) is None


@given(st.text(max_size=300))
def test_any_text_has_a_form_and_takes_its_own(text: str) -> None:
    assert person_of(text) == person_of(text.upper().lower()) or not text.isascii()
    abbreviated(text)
    skeleton_of(text)
