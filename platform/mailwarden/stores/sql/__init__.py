"""Tenants, decisions, labels and models in SQL: SQLite by default, PostgreSQL by URL."""

from mailwarden.stores.sql.artefacts import ModelArtefacts
from mailwarden.stores.sql.audit import Audit, AuditEntry
from mailwarden.stores.sql.decisions import DecisionFilter, DecisionPage, DecisionRecord, Decisions
from mailwarden.stores.sql.directories import Directories, DirectoryRecord
from mailwarden.stores.sql.engine import open_engine
from mailwarden.stores.sql.keys import ApiKey, PlatformKeys, Principal
from mailwarden.stores.sql.labels import LabelRecord, Labels
from mailwarden.stores.sql.migrate import upgrade
from mailwarden.stores.sql.registry import ModelRecord, Promotion, Registry, TrainingRecord
from mailwarden.stores.sql.tenants import Tenant, TenantPolicy, Tenants

__all__ = [
    "ApiKey",
    "Audit",
    "AuditEntry",
    "DecisionFilter",
    "DecisionPage",
    "DecisionRecord",
    "Decisions",
    "Directories",
    "DirectoryRecord",
    "LabelRecord",
    "Labels",
    "ModelArtefacts",
    "ModelRecord",
    "PlatformKeys",
    "Principal",
    "Promotion",
    "Registry",
    "Tenant",
    "TenantPolicy",
    "Tenants",
    "TrainingRecord",
    "open_engine",
    "upgrade",
]
