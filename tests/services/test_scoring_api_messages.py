"""Messages, decisions and labels looked up again; mail shown to people, harmless and audited."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import StoreUnavailable
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.training.train import Trained
from mailwarden_services.scoring_api.answer_models import (
    AuditPage,
    ContentAnswer,
    DecisionsPage,
    LabelsPage,
    MessageAnswer,
    ScoreAnswer,
)

Mail = list[SimulatedMessage]
KNOWN = "2026-03-30T10:00:00Z"
AT = Envelope(1_772_700_000_000_000, "mallory@evil.example", ("bob@acme.example",))
HOSTILE = (
    b"From: M <mallory@evil.example>\r\nTo: bob@acme.example\r\nSubject: \x1b[31mhttp://evil.example/a\r\n"
    b"Message-ID: <one@evil.example>\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b'--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Dear Bob, <a href="https://evil.example/x">your bank</a>'
    b'<script>alert(1)</script><span style="display:none">unseen words to fool a filter</span>'
    b" www.evil.example/x \xe2\x80\xae12</p>\r\n"
    b'--b\r\nContent-Type: application/pdf; name="a.pdf"\r\nContent-Disposition: attachment; filename="a.pdf"\r\n\r\n'
    b"%PDF-1.4 nothing\r\n--b--\r\n"
)


@pytest.mark.parametrize("when", ["at once", "logged"])
def test_a_message_is_looked_up_with_all_that_decided_it(warden: Any, simulated: Mail, when: str) -> None:
    with warden.api() as api:
        answer = api.send(simulated[0])
        if when == "logged":
            api.label(message_id=answer["message_id"], label="CP", known_at=KNOWN)
            warden.drain()
        found = api.client.get(f"/v1/messages/{answer['decision_id']}").json()
        MessageAnswer.model_validate(found)
        assert found["decision"] == answer
        assert set(found["decision"]) == set(ScoreAnswer.model_fields) - {"explanation"}
        assert found["label"] == ("CP" if when == "logged" else None)
        assert found["vectors_status"] == "logged"
        assert {vector["recipient"] for vector in found["vectors"]} == set(found["recipients"])
        views = found["vectors"][0]["views"]
        assert views["sender_activity"]["as_of_seq"] is not None or views["sender_activity"]["status"] != "present"
        assert not {"texts", "fingerprint", "facts"} & {name for view in views.values() for name in view["values"]}
        for vector in found["vectors"]:
            spoke = {name: said for name, said in vector["detectors"].items() if said["missing"] is None}
            assert set(spoke) == set(answer["detectors"])
            assert {said["missing"] for said in vector["detectors"].values()} <= {None, "abstained"}
            for name, said in spoke.items():
                assert said["model_version"] == answer["detectors"][name]["model_version"] == 1
                assert said["missing"] is None and said["milliseconds"] > 0 and said["raw"] is not None
                assert said["score"] == pytest.approx(1 / (1 + math.exp(-said["log_odds"])))
        # The decision is of the worst of them.
        said = [vector["detectors"] for vector in found["vectors"]]
        assert {name: one["score"] for name, one in answer["detectors"].items()} in [
            {name: one["score"] for name, one in detectors.items() if one["missing"] is None} for detectors in said
        ]
        content = [name for name, view in views.items() if view["as_of_seq"] is None and view["values"]]
        assert any(value is not None for name in content for value in views[name]["values"].values())
        strangers = warden.headers("other")
        assert api.client.get(f"/v1/messages/{answer['message_id']}", headers=strangers).status_code == 404
        assert api.client.get("/v1/messages/not-an-id").status_code == 422


@pytest.mark.parametrize("when", ["at once", "logged"])
def test_a_detector_without_a_score_is_looked_up_with_why(warden: Any, trained_bundle: Trained, when: str) -> None:
    warden.promote(trained_bundle, of_other_code=["behaviour"])
    with warden.api() as api:
        message_id = api.score(b"From: nobody@far.example\r\n\r\n", AT).json()["message_id"]
        if when == "logged":
            warden.drain()
        (vector,) = api.client.get(f"/v1/messages/{message_id}").json()["vectors"]
        said = vector["detectors"]
        three = ("behaviour", "header_rules", "message_text")
        assert [said[name]["missing"] for name in three] == ["away", None, "abstained"]
        assert [said[name]["model_version"] for name in three] == [None, 1, 1]
        for name in ("behaviour", "message_text"):
            assert said[name]["raw"] is said[name]["score"] is said[name]["log_odds"] is None


def test_decisions_are_listed_by_page_and_found_by_what_is_known_of_them(warden: Any, simulated: Mail) -> None:
    with warden.api() as api:
        answers = [api.send(message) for message in simulated[-30:]]
        warden.drain()
        seen: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            page = api.client.get("/v1/decisions", params={"limit": 7, **after}).json()
            DecisionsPage.model_validate(page)
            seen += page["decisions"]
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        assert sorted(d["message_id"] for d in seen) == sorted(a["message_id"] for a in answers)
        times = [(d["received_at"], d["seq"]) for d in seen]
        assert times == sorted(times, reverse=True)
        by_id = {answer["message_id"]: answer for answer in answers}
        assert all(d["signals"] == by_id[d["message_id"]]["signals"] for d in seen)

        def ids(**wanted: str) -> set[str]:
            found = api.client.get("/v1/decisions", params=wanted).json()["decisions"]
            return {d["message_id"] for d in found}

        one = next(d for d in seen if d["message_id_header"])
        assert one["message_id"] in ids(message_id_header=f"<{one['message_id_header']}>")
        assert len(ids(message_id_header=one["message_id_header"])) < len(seen)
        assert ids(sender=one["sender"].upper()) == {d["message_id"] for d in seen if d["sender"] == one["sender"]}
        assert ids(verdict=one["verdict"]) == {d["message_id"] for d in seen if d["verdict"] == one["verdict"]}
        recipient = one["recipients"][0]
        assert ids(recipient=recipient) == {d["message_id"] for d in seen if recipient in d["recipients"]}
        middle = seen[15]["received_at"]
        assert ids(**{"from": middle}) == {d["message_id"] for d in seen if d["received_at"] >= middle}
        assert ids(to=middle) == {d["message_id"] for d in seen if d["received_at"] < middle}
        for wrong in ({"after": "x"}, {"limit": 0}, {"verdict": "maybe"}, {"from": "1700000000"}, {"to": "today"}):
            assert api.client.get("/v1/decisions", params=wrong).status_code == 422
        assert api.client.get("/v1/decisions", headers=warden.headers("other")).json()["decisions"] == []


def test_labels_are_listed_with_what_took_them_back(warden: Any, simulated: Mail) -> None:
    with warden.api() as api:
        one, two = (api.send(message)["message_id"] for message in simulated[:2])
        for message_id, label in ((one, "CP"), (two, "ham"), (one, "SP")):
            api.label(message_id=message_id, label=label, known_at=KNOWN, given_by="u1")
        api.client.delete(f"/v1/messages/{one}/label", params={"known_at": KNOWN})
        warden.drain()
        page = api.client.get("/v1/labels", params={"limit": 3}).json()
        LabelsPage.model_validate(page)
        rest = api.client.get("/v1/labels", params={"limit": 3, "after": page["next"]}).json()
        listed = [(label["message_id"], label["label"]) for label in (*page["labels"], *rest["labels"])]
        assert listed == [(one, "withdrawn"), (one, "SP"), (two, "ham"), (one, "CP")] and rest["next"] is None
        of_one = api.client.get("/v1/labels", params={"message_id": "d" + one}).json()["labels"]
        assert [label["label"] for label in of_one] == ["withdrawn", "SP", "CP"]
        assert of_one[1]["known_at"] == "2026-03-30T10:00:00.000000Z" and of_one[1]["given_by"] == "u1"
        assert api.client.get(f"/v1/messages/{one}").json()["label"] is None
        assert api.client.get(f"/v1/messages/{two}").json()["label"] == "ham"


@pytest.mark.parametrize("when", ["at once", "logged"])
def test_mail_is_shown_harmless_and_the_reading_is_on_record(warden: Any, when: str) -> None:
    with warden.api() as api:
        message_id = api.score(HOSTILE, AT).json()["message_id"]
        if when == "logged":
            warden.drain()
        response = api.client.get(f"/v1/messages/{message_id}/content")
        shown = response.json()
        ContentAnswer.model_validate(shown)
        assert "your bank" in shown["text"] and "www[.]evil[.]example" in shown["text"]
        assert "unseen words" not in shown["text"]
        assert "unseen words to fool a filter" in shown["hidden_text"]
        assert shown["links"][0]["url"] == "hxxps://evil[.]example/x" and shown["links"][0]["text"] == "your bank"
        assert [(part["name"], part["declared_type"]) for part in shown["parts"]] == [("a.pdf", "application/pdf")]
        assert len(shown["parts"][0]["sha256"]) == 64
        assert shown["envelope"] == {"mail_from": "mallory@evil.example", "rcpt_to": ["bob@acme.example"]}
        assert ["Message-ID", "<one@evil.example>"] in [[name, value] for name, value in shown["headers"]]
        for live in ("<script", "<a ", "http://", "https://", "\x1b", "\u202e"):
            assert live not in response.text
        assert api.client.get(f"/v1/messages/{'0' * 32}/content").status_code == 404
        page = api.client.get("/v1/audit", params={"what": "content"}).json()
        AuditPage.model_validate(page)
        (entry,) = page["entries"]
        assert (entry["who"], entry["what"], entry["target"]) == ("key:tests", "content.read", message_id)
        assert api.client.get("/v1/audit", headers=warden.headers("other")).json()["entries"] == []


def test_mail_is_not_shown_where_the_reading_cannot_be_put_on_record(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("the database is away")

    with warden.api() as api:
        message_id = api.send(simulated[0])["message_id"]
        monkeypatch.setattr(warden.platform.audit, "add_many", away)
        response = api.client.get(f"/v1/messages/{message_id}/content")
        assert response.status_code == 503 and "text" not in response.json()
        assert api.label(message_id=message_id, label="CP", known_at=KNOWN).status_code == 201


def test_labels_that_are_given_and_withdrawn_are_on_record(warden: Any, simulated: Mail) -> None:
    with warden.api() as api:
        ids = [api.send(message)["message_id"] for message in simulated[:3]]
        api.label(message_id=ids[0], label="CP", known_at=KNOWN, given_by="u1")
        api.label(message_id=ids[0], label="CP", known_at=KNOWN)
        bodies = [{"message_id": i, "label": "ham", "known_at": KNOWN} for i in (*ids[1:], "0" * 32)]
        api.client.post("/v1/labels/batch", json={"labels": bodies})
        api.client.delete(f"/v1/messages/{ids[0]}/label")
        entries = api.client.get("/v1/audit").json()["entries"]
        assert [(e["what"], e["target"], e["details"].get("label")) for e in reversed(entries)] == [
            ("label.give", ids[0], "CP"), ("label.give", ids[1], "ham"), ("label.give", ids[2], "ham"),
            ("label.withdraw", ids[0], None),
        ]  # fmt: skip
        first = api.client.get("/v1/audit", params={"limit": 3}).json()
        rest = api.client.get("/v1/audit", params={"before": first["next"]}).json()
        assert [*first["entries"], *rest["entries"]] == entries and rest["next"] is None


def test_the_description_is_a_page_that_needs_nothing_from_elsewhere(warden: Any) -> None:
    with warden.api() as api:
        page = api.client.get("/docs")
        schema = api.client.get("/openapi.json").json()
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for foreign in ("<script", "<link", "src=", "@import", 'href="http', "url("):
        assert foreign not in page.text
    assert all(f"<code>{path}</code>" in page.text for path in schema["paths"])


def test_times_are_rfc_3339_alone(warden: Any, simulated: Mail) -> None:
    with warden.api() as api:
        message_id = api.send(simulated[0])["message_id"]
        texts = ("1774864800", "2026-03-30", "2026-03-30T10:00:00", "2026-03-30T10:00Z", "2026-02-30T10:00:00Z", "")
        for wrong in (1_774_864_800, None, True, *texts):
            refused = api.client.post("/v1/labels", json={"message_id": message_id, "label": "CP", "known_at": wrong})
            assert refused.status_code == 422 and "2026-01-31T08:30:00Z" in refused.json()["detail"], wrong
        for right in ("2026-03-30t10:00:00.5z", "2026-03-30 10:00:00+02:00", "2026-03-30T23:59:60Z"):
            response = api.client.post("/v1/labels", json={"message_id": message_id, "label": "CP", "known_at": right})
            assert response.status_code in (200, 201), (right, response.text)
