"""A training's result into the registry: each detector and the bundle, with what it takes to train them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from mailwarden.stores.sql.artefacts import ModelArtefacts
from mailwarden.stores.sql.registry import ModelRecord, Registry, TrainingRecord
from mailwarden.training.train import Trained

BUNDLE = "bundle"
"""The registry's name of the detectors fused."""

_NO_INPUTS: Mapping[str, Any] = MappingProxyType({})


def register(
    trained: Trained,
    registry: Registry,
    artefacts: ModelArtefacts,
    *,
    code_revision: str,
    created_us: int,
    event_log_version: int | None = None,
    known_by_us: int | None = None,
    inputs: Mapping[str, Any] = _NO_INPUTS,
    tenant: str | None = None,
    promote: str = "",
) -> Mapping[str, ModelRecord]:
    """Keep each detector and the bundle that names them as versions in the registry; by name, the bundle under
    "bundle". What is registered already, by its content, stays the version that it is.

    code_revision: of the code that trained. created_us: microseconds UTC. event_log_version, known_by_us: the version
    of the event log that the rows were read from, and until when labels were seen, None where they came from
    elsewhere. inputs: what else the training took, plain JSON values, for the bundle's parameters. promote: why this
    bundle is to serve from now on; "" where it is not to. Raises StoreError where a store fails, NotFound where there
    is no such tenant.
    """

    def add(name: str, content: bytes, service: str, parameters: Mapping[str, Any]) -> ModelRecord:
        uri, digest = artefacts.put(content)
        return registry.add(
            model_id=_model_id(tenant, name, digest),
            name=name,
            artefact_uri=uri,
            artefact_sha256=digest,
            created_us=created_us,
            tenant=tenant,
            record=TrainingRecord(
                data_fingerprint=trained.fingerprint,
                feature_service=service,
                code_revision=code_revision,
                seed=trained.seed,
                event_log_version=event_log_version,
                known_by_us=known_by_us,
                parameters=parameters,
                metrics=trained.evaluations["fused" if name == BUNDLE else name].as_json(),
            ),
        )

    records = {
        name: add(name, content, name, trained.parameters.get(name, {})) for name, content in trained.detectors.items()
    }
    members = {name: replace(trained.bundle.members[name], model=record.version) for name, record in records.items()}
    bundle = replace(trained.bundle, members=members)
    # A bundle has one service a detector.
    services = ",".join(sorted(members))
    records[BUNDLE] = add(BUNDLE, bundle.to_bytes(), services, {**_bundle_parameters(trained), **inputs})
    if promote:
        registry.promote(BUNDLE, records[BUNDLE].version, at_us=created_us, reason=promote, tenant=tenant)
    return records


def _model_id(tenant: str | None, name: str, digest: str) -> str:
    return sha256(f"{tenant or ''}\n{name}\n{digest}".encode()).hexdigest()[:32]


def _bundle_parameters(trained: Trained) -> Mapping[str, Any]:
    shown = ("options", "split", "messages", "rows", "kept", "content", "thresholds", "categories_right")
    return {key: trained.bundle.record[key] for key in shown}
