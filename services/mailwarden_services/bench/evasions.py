"""How many simulated attacks that were caught are still caught, and still for the same reasons, after each evasion.

1. Detectors learn from simulated mail, from what each message alone says: history cannot help them.
2. Of later mail the first attacks that are held back are chosen, each put together anew without any evasion.
3. Every evasion is applied to each; a message is still caught where it is held back, and keeps what caught it where
   each of its reasons is among those that are given now.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from mailwarden.domain.detection.decision import Combination
from mailwarden.domain.mail.content import ContentSet
from mailwarden.ingest.parse import parse_message
from mailwarden.scoring.champion import Champion
from mailwarden.scoring.reasons import reasons
from mailwarden.simulation.company import company
from mailwarden.simulation.evasions.content import EVASIONS
from mailwarden.simulation.evasions.pieces import Pieces, html_part, message_of
from mailwarden.simulation.simulate import simulate
from mailwarden.stores.content_code import content_set
from mailwarden.stores.lists import load_lists
from mailwarden.testing.content_models import content_table, train_on_content
from mailwarden_detectors import discover as discover_detectors
from mailwarden_features import discover as discover_features

SEED = 7
LEARNED = 2_400
"""Messages that the detectors learn from; attacks are those of the mail behind."""
ATTACKS = 100
EVERY_REASON = 1_000


def measure(
    attacks: int = ATTACKS, learned: int = LEARNED, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Of so many caught simulated attacks, by evasion: how many are `held` back, how many `kept` all of their
    reasons, and `reasons`, the mean share of reasons kept (0..1)."""
    own, repository, detectors = company(SEED), discover_features(), discover_detectors()
    content = content_set(repository.content, load_lists())
    mail = simulate(SEED, days=3_650)
    withheld = [view.name for view in repository.activity]
    trained = train_on_content(
        list(islice(mail, learned)), content, detectors, authserv_id=own.authserv_id, withheld=withheld, seed=SEED
    )
    bundle = trained.bundle
    judge = _Judge(
        content,
        Champion(
            version=1,
            detectors=bundle.load(detectors, trained.fetch),
            detector_versions=dict.fromkeys(bundle.members, 1),
            whole=Combination(bundle.fusion, bundle.thresholds),
            content_views=frozenset(view.name for view in content.views),
            categoriser=bundle.categoriser,
            naming=bundle.naming,
            withheld=frozenset(withheld),
        ),
        frozenset({own.authserv_id}),
    )
    caught: list[tuple[Pieces, Any, frozenset[str]]] = []
    for message in mail:
        if message.label == "ham":
            continue
        pieces = Pieces.of(message.raw)
        held, reasons = judge(message_of(pieces, html_part(pieces.html)), message.envelope, 5)
        if held:
            caught.append((pieces, message.envelope, reasons))
        if len(caught) == attacks:
            break
    found: dict[str, dict[str, float]] = {}
    for name, evade in EVASIONS.items():
        say(name)
        after = [
            (judge(evade(pieces, seed), envelope, EVERY_REASON), reasons)
            for seed, (pieces, envelope, reasons) in enumerate(caught)
        ]
        found[name] = {
            "held": sum(held for (held, _), _ in after),
            "kept": sum(reasons <= given for (_, given), reasons in after),
            "reasons": sum(len(reasons & given) / len(reasons) for (_, given), reasons in after) / max(1, len(after)),
        }
    return {"attacks": len(caught), "evasions": found}


class _Judge:
    def __init__(self, content: ContentSet, champion: Champion, trusted: frozenset[str]) -> None:
        self.content, self.champion, self.trusted = content, champion, trusted
        self.wanted = {feature for detector in champion.detectors.values() for feature in detector.features}

    def __call__(self, raw: bytes, envelope: Any, limit: int) -> tuple[bool, frozenset[str]]:
        """Whether a message is held back, and the names of its strongest reasons."""
        message = parse_message(raw, envelope, trusted_authserv_ids=self.trusted)
        features = content_table(self.content, [message], self.wanted)
        scores = self.champion.score(features).of()
        held = scores.verdict("") in ("junk", "quarantine")
        return held, frozenset(signal.name for signal in reasons(self.champion, features, scores, limit=limit))
