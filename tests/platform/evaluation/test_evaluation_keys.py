"""Rows of several tables brought to the messages that they are of, and which language a text is in."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.evaluation.keys import Keys, gathered, newest
from mailwarden.evaluation.language import languages_of

key = st.tuples(st.sampled_from(["a", "b", "ab"]), st.sampled_from(["1", "b1", "2"]))


@settings(deadline=None)
@given(st.lists(key, unique=True), st.lists(st.tuples(key, st.integers(0, 9)), max_size=20), st.integers(1, 5))
def test_rows_find_their_messages_and_the_newest_of_each(
    known: list[tuple[str, str]], rows: list[tuple[tuple[str, str], int]], size: int
) -> None:
    keys = Keys(pa.array([t for t, _ in known], pa.string()), pa.array([m for _, m in known], pa.string()))
    batches = [
        pa.record_batch({
            "tenant": pa.array([t for (t, _), _ in part], pa.string()),
            "message_id": pa.array([m for (_, m), _ in part], pa.string()),
            "seq": pa.array([seq for _, seq in part], pa.int64()),
        })
        for part in (rows[start : start + size] for start in range(0, len(rows), size))
    ]  # fmt: skip
    found = list(keys.read(batches))
    flat = [(known[at], seq) for place, table in found
            for at, seq in zip(place.tolist(), table["seq"].to_pylist(), strict=True)]  # fmt: skip
    assert flat == [row for row in rows if row[0] in known]
    last = newest([place for place, _ in found], [np.asarray(table["seq"]) for _, table in found], len(keys))
    for number, one in enumerate(known):
        seqs = [seq for name, seq in flat if name == one]
        assert (flat[last[number]] == (one, max(seqs))) if seqs else (last[number] == -1)


def test_few_large_tables_are_made_of_many_small_ones() -> None:
    batches = [pa.record_batch({"x": [number]}) for number in range(7)]
    assert [table.num_rows for table in gathered(batches, 3)] == [3, 3, 1]


@pytest.mark.parametrize(("text", "language"), [
    ("Please find the report that you asked for in the attachment, with thanks", "en"),
    ("Bitte überweisen Sie den Betrag auf das Konto, das wir Ihnen mit der Rechnung nennen", "de"),
    ("Vous trouverez dans les pièces jointes une facture pour votre commande", "fr"),
    ("El pago de los servicios se hará por transferencia para que usted lo vea", "es"),
    ("Il pagamento della fattura non è arrivato, che sono con gli altri", "it"),
    ("Het bedrag van de factuur is niet aan ons betaald, dat weten wij ook", "nl"),
    ("Não recebemos o pagamento da fatura que foi enviada para você em maio", "pt"),
    ("Пожалуйста, оплатите счёт до пятницы", "ru"),
    ("请尽快支付这张发票，谢谢您的配合", "zh"),
    ("請求書のお支払いをお願いします", "ja"),
    ("ok", ""), ("", ""), (None, ""), ("12345 67890", ""),
])  # fmt: skip
def test_languages_are_told_by_their_commonest_words(text: str | None, language: str) -> None:
    assert languages_of(pa.array([text], pa.string())).word(0) == language
