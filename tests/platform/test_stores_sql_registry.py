from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from mailwarden.errors import DataError, NotFound
from mailwarden.stores.sql import ModelRecord, Promotion, Registry, Tenants, TrainingRecord

RECORD = TrainingRecord(
    data_fingerprint="f00d",
    feature_service="behaviour",
    code_revision="abc123",
    seed=7,
    parameters={"depth": 6, "rate": 0.1 + 0.2, "cut_off_us": 1_700_000_000_000_001},
    metrics={"recall_at_0.1%": 0.93, "auc": None},
)


@pytest.fixture
def registry(sql_engine: sa.Engine) -> Registry:
    Tenants(sql_engine).create("acme", domains=[], created_us=1)
    return Registry(sql_engine)


def add(registry: Registry, model_id: str, name: str = "behaviour", tenant: str | None = None) -> ModelRecord:
    return registry.add(
        model_id=model_id,
        name=name,
        artefact_uri="sha256/aa/aa",
        artefact_sha256=model_id,
        created_us=5,
        record=RECORD,
        tenant=tenant,
    )


def test_versions_count_up_within_tenant_and_name(registry: Registry) -> None:
    assert [add(registry, f"a{n}").version for n in range(3)] == [1, 2, 3]
    assert add(registry, "b", name="bundle").version == 1
    assert add(registry, "t", tenant="acme").version == 1
    assert [model.model_id for model in registry.versions("behaviour")] == ["a0", "a1", "a2"]
    assert [model.model_id for model in registry.versions("behaviour", tenant="acme")] == ["t"]
    assert registry.versions("nothing") == ()
    assert registry.names() == ("behaviour", "bundle")
    assert registry.names(tenant="acme") == ("behaviour",)


def test_a_model_is_read_back_as_it_was_added(registry: Registry) -> None:
    added = add(registry, "a")
    assert added == ModelRecord("a", None, "behaviour", 1, "sha256/aa/aa", "a", 5, RECORD)
    assert registry.get("behaviour", 1) == added
    assert add(registry, "t", tenant="acme").tenant == "acme"


def test_what_cannot_be_registered_is_refused(registry: Registry) -> None:
    add(registry, "a")
    with pytest.raises(DataError, match="registered already"):
        add(registry, "a", name="bundle")
    with pytest.raises(NotFound, match="no tenant 'nobody'"):
        add(registry, "b", tenant="nobody")
    with pytest.raises(DataError, match="is empty"):
        add(registry, "b", name="")
    with pytest.raises(DataError, match="cannot be stored as JSON"):
        registry.add(
            model_id="n",
            name="behaviour",
            artefact_uri="u",
            artefact_sha256="s",
            created_us=1,
            record=TrainingRecord("f", "s", "c", 1, metrics={"auc": float("nan")}),
        )
    assert [model.version for model in registry.versions("behaviour")] == [1]


def test_an_unknown_version_is_not_found_with_those_there_are(registry: Registry) -> None:
    add(registry, "a1")
    add(registry, "a2")
    with pytest.raises(NotFound, match=r"no version 7\. Versions there are: 1, 2"):
        registry.get("behaviour", 7)
    with pytest.raises(NotFound):
        registry.promote("behaviour", 7, at_us=1, reason="typo")
    with pytest.raises(NotFound, match="of tenant 'acme'"):
        registry.promote("behaviour", 1, at_us=1, reason="not theirs", tenant="acme")


def test_rollback_goes_back_along_the_champions_and_keeps_the_history(registry: Registry) -> None:
    for n in (1, 2, 3, 4):
        add(registry, f"a{n}")
    assert registry.champion("behaviour") is None
    for at, version in enumerate((1, 3, 2)):
        assert registry.promote("behaviour", version, at_us=at, reason="better").version == version
    assert registry.promote("behaviour", 2, at_us=9, reason="again") == registry.champion("behaviour")
    assert registry.rollback("behaviour", at_us=10, reason="false positives").version == 3
    assert registry.champion("behaviour") == registry.get("behaviour", 3)
    registry.promote("behaviour", 4, at_us=11, reason="mended")
    assert registry.rollback("behaviour", at_us=12, reason="not mended").version == 3
    assert registry.rollback("behaviour", at_us=13, reason="older still").version == 1
    with pytest.raises(NotFound, match="no earlier champion"):
        registry.rollback("behaviour", at_us=14, reason="too far")
    champion = registry.champion("behaviour")
    assert champion is not None and champion.version == 1
    assert registry.history("behaviour") == (
        Promotion(1, "promote", 0, "better"),
        Promotion(3, "promote", 1, "better"),
        Promotion(2, "promote", 2, "better"),
        Promotion(3, "rollback", 10, "false positives"),
        Promotion(4, "promote", 11, "mended"),
        Promotion(3, "rollback", 12, "not mended"),
        Promotion(1, "rollback", 13, "older still"),
    )


def test_champions_of_tenants_and_names_are_apart(registry: Registry) -> None:
    add(registry, "a")
    add(registry, "b", name="bundle")
    add(registry, "t", tenant="acme")
    registry.promote("behaviour", 1, at_us=1, reason="first")
    assert registry.champion("bundle") is None
    assert registry.champion("behaviour", tenant="acme") is None
    registry.promote("behaviour", 1, at_us=2, reason="own", tenant="acme")
    own = registry.champion("behaviour", tenant="acme")
    assert own is not None and own.model_id == "t"
    with pytest.raises(NotFound):
        registry.rollback("bundle", at_us=3, reason="never promoted")


def test_models_added_at_once_get_versions_of_their_own(registry: Registry) -> None:
    def work(worker: int) -> None:
        for n in range(10):
            add(registry, f"{worker}-{n}")
            registry.promote("behaviour", 1 + n % 2, at_us=n, reason="flap")

    add(registry, "first")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    assert [model.version for model in registry.versions("behaviour")] == list(range(1, 32))
    history = [change.version for change in registry.history("behaviour")]
    assert all(before != after for before, after in itertools.pairwise(history))


def test_what_holds_the_same_is_one_version_as_it_was_registered_first(registry: Registry) -> None:
    first, other = add(registry, "a"), add(registry, "b")
    again = registry.add(
        model_id="c", name="behaviour", artefact_uri="u", artefact_sha256="a", created_us=9, record=RECORD
    )
    assert again == first and other.version == 2
    # Another name, or a tenant's own, is another model.
    assert add(registry, "a1", name="bundle").version == 1
    assert [model.version for model in registry.versions("behaviour")] == [1, 2]
