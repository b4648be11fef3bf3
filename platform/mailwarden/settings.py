"""Settings: typed, read once at start from the environment (`MAILWARDEN_*`), never while a message is scored."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from mailwarden.errors import ConfigError, did_you_mean

PREFIX = "MAILWARDEN_"

NO_SETTINGS = frozenset({"MAILWARDEN_POSTGRES_PASSWORD"})
"""Variables with the prefix that others read: `infra/compose.yaml`."""

# What Kubernetes sets in every container of a namespace for each service, of which one may bear our name.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?$")


class Settings(BaseSettings):
    """Where things are and how much of them; every field is an environment variable with the prefix MAILWARDEN_.

    Made, they raise ConfigError where a variable with that prefix is no setting, or a value is none of its kind; the
    value itself, which may be a secret, is not repeated.

    home: folder that holds everything the embedded default keeps. redis_url: a Redis database for this project alone;
    empty starts one of our own under `home`. It is one server (redis://, rediss://, unix://), a master that Sentinels
    watch (redis+sentinel://host:26379,host:26379/service/0) or a cluster (redis+cluster://host:6379,...): see
    `stores.online.client.open_client`. database_url: SQLAlchemy URL; empty is SQLite under `home`.
    feast_registry_url: the same of Feast's registry. lists: folder of a site's own lists, each a file named after the
    list that it replaces or extends (`mailwarden lists`); empty for those that ship. streams: partitions of the
    entity keys in Redis, each with a stream and a writer of its own; an online store keeps the number that it was
    begun with. fold_seconds: from one fold of accepted mail into features to the next. workers: scoring processes for
    short messages, in each shard; longer ones have two of their own. shards: processes that number, each some tenants'
    mail; shard: which of them this is, set by `serve` for what it starts. connections: that each listener of the API
    holds, and connections_per_peer from one address; request_seconds: in which a connection makes its request, and
    takes its answer. tenant_requests: of one tenant that a shard has under way at once, 0 for any number; tenant_rate:
    messages and labels a second of one tenant, with ten seconds' worth at once, 0 for any. reading_seconds: CPU time
    after which the process that scores a message is ended. costly_share: of each tenant's mail that costly detectors
    may be asked about, 0..1; 0 turns them off. resolver: addresses of name servers, with commas, of which
    one is asked where a message bears no trusted result; empty has nothing verified here. resolver_seconds: what all
    questions of one message may take.
    listeners: of the mail system, see `scoring_api.listeners`. authserv_id: by which results that were verified here
    are added to mail; empty is the machine's name. rspamd_password: of rspamd's protocol; rspamd_actions: its actions
    where they are to be others, see `scoring_api.rspamd`. api_key: with which commands call an API that they are told
    of. gateway_key: the API key of milter and content filter. gateway_deadline_seconds: what the API may take for one
    message of theirs. quarantine_days: how long mail is held. release_next: where released mail of the store is handed
    on, as `HOST:PORT` or `lmtp:unix:PATH`; empty sends it where it was going. postsuper: the command for Postfix's hold
    queue. live_clock: mail comes as it is received, so that a time ahead of this machine's clock is set back; a replay,
    whose mail is of another time, has no clock. metrics_by_tenant: count decisions by tenant too. otlp_endpoint: URL of
    a collector that takes OpenTelemetry traces; empty keeps none. trace_share: of the messages whose request names no
    trace of its own.
    """

    model_config = SettingsConfigDict(env_prefix="MAILWARDEN_", extra="forbid", frozen=True)

    home: Path = Path(".mailwarden")
    project: str = Field(default="mailwarden", pattern=r"^[a-z][a-z0-9_]*$")
    redis_url: SecretStr = SecretStr("")
    database_url: SecretStr = SecretStr("")
    feast_registry_url: SecretStr = SecretStr("")
    lists: str = ""
    spark_master: str = "local[2]"
    spark_driver_memory: str = "2g"
    spark_shuffle_partitions: int = Field(default=8, ge=1)
    streams: int = Field(default=4, ge=1, le=64)
    redis_timeout_seconds: float = Field(default=0.25, gt=0.0)
    max_message_bytes: int = Field(default=26_214_400, gt=0)
    fold_seconds: float = Field(default=0.2, ge=0.0, le=0.5)
    stale_after_seconds: float = Field(default=60.0, gt=0.0)
    workers: int = Field(default=2, ge=1, le=256)
    shards: int = Field(default=1, ge=1, le=64)
    shard: int = Field(default=0, ge=0, le=63)
    connections: int = Field(default=1_000, ge=1)
    connections_per_peer: int = Field(default=200, ge=1)
    request_seconds: float = Field(default=20.0, gt=0.0)
    tenant_requests: int = Field(default=200, ge=0)
    tenant_rate: float = Field(default=1_000.0, ge=0.0)
    reading_seconds: float = Field(default=1.0, gt=0.0)
    costly_share: float = Field(default=0.1, ge=0.0, le=1.0)
    resolver: str = ""
    resolver_seconds: float = Field(default=2.0, gt=0.0, le=5.0)
    spool_fsync: bool = True
    listeners: str = ""
    authserv_id: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]{0,253}$")
    rspamd_password: SecretStr = SecretStr("")
    rspamd_actions: str = ""
    api_key: SecretStr = SecretStr("")
    gateway_key: SecretStr = SecretStr("")
    gateway_deadline_seconds: float = Field(default=20.0, gt=0.0, le=250.0)
    quarantine_days: int = Field(default=30, ge=1)
    release_next: str = ""
    postsuper: str = "postsuper"
    live_clock: bool = True
    metrics_by_tenant: bool = False
    otlp_endpoint: str = ""
    trace_share: float = Field(default=1.0, ge=0.0, le=1.0)

    def __init__(self, **values: Any) -> None:
        refuse_unknown(os.environ)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError("; ".join(_words(found) for found in error.errors())) from None

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """The same with some values changed; what was derived from the former ones is not taken along."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("root", None)
        return copied

    @cached_property
    def root(self) -> Path:
        """`home`, absolute."""
        return self.home.expanduser().resolve()

    @property
    def lists_path(self) -> Path | None:
        """`lists`, absolute; None where only the lists that ship are used."""
        return Path(self.lists).expanduser().resolve() if self.lists else None

    @property
    def name_servers(self) -> tuple[str, ...]:
        """`resolver`, one by one."""
        return tuple(one.strip() for one in self.resolver.split(",") if one.strip())

    @property
    def events_path(self) -> Path:
        """Delta table of events."""
        return self.root / "lake" / "events"

    @property
    def facts_path(self) -> Path:
        """Fact sets: facts of the event log's events that were derived anew."""
        return self.root / "lake" / "facts"

    @property
    def raw_path(self) -> Path:
        """Delta table of raw mail by content."""
        return self.root / "lake" / "raw"

    @property
    def vectors_path(self) -> Path:
        """Delta table of logged feature vectors."""
        return self.root / "lake" / "vectors"

    @property
    def scores_path(self) -> Path:
        """Delta table of what each detector said."""
        return self.root / "lake" / "scores"

    @property
    def texts_path(self) -> Path:
        """Delta table of texts that features saw."""
        return self.root / "lake" / "texts"

    @property
    def offline_path(self) -> Path:
        """Offline Parquet of feature views."""
        return self.root / "offline"

    @property
    def _shard_root(self) -> Path:
        return self.root if self.shard == 0 else self.root / "shards.d" / str(self.shard)

    def of_shard(self, shard: int) -> Settings:
        """The same for what numbers another shard's mail."""
        return self.model_copy(update={"shard": shard})

    def sequencer_socket(self, shard: int) -> Path:
        """Where a shard's sequencer answers the others."""
        return self.run_path / f"sequencer-{shard}.sock"

    @property
    def spool_path(self) -> Path:
        """Append-only spool of accepted messages."""
        return self._shard_root / "spool"

    @property
    def found_path(self) -> Path:
        """Append-only spool of what was found out about accepted messages and is not numbered yet."""
        return self._shard_root / "found"

    @property
    def contacts_path(self) -> Path:
        """SQLite file of who wrote to whom before; made again from the event log where it is missing."""
        return self._shard_root / "contacts.sqlite"

    @property
    def campaigns_path(self) -> Path:
        """Clusters of near copies, a file a tenant; made again from the event log where they are missing."""
        return self.root / "campaigns"

    @property
    def models_path(self) -> Path:
        """Artefacts of models, addressed by content."""
        return self.root / "models"

    @property
    def quarantine_path(self) -> Path:
        """Bytes of held mail."""
        return self.root / "quarantine"

    @property
    def run_path(self) -> Path:
        """Sockets and logs of processes of ours."""
        return self.root / "run"

    @property
    def feast_registry(self) -> str:
        """SQLAlchemy URL of Feast's registry."""
        return self.feast_registry_url.get_secret_value() or f"sqlite:///{self.root / 'feast.db'}"

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the registry of models, labels and decisions."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.root / 'mailwarden.db'}"


def refuse_unknown(names: Iterable[str]) -> None:
    """Raise ConfigError where one of some environment variables has the prefix and is no setting: it would do nothing.

    Case does not matter, as it does not to pydantic; what Kubernetes sets for services of our name is passed over.
    """
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    for name in sorted(names):
        upper = name.upper()
        if upper.startswith(PREFIX) and upper not in known | NO_SETTINGS and not _SERVICE_LINK.search(upper):
            raise ConfigError(
                f"{name} is no setting.{did_you_mean(upper, sorted(known))} Mend the name, or unset it; the settings "
                "are listed in docs/operations.md."
            )


def _words(found: Any) -> str:
    field = str(found["loc"][0]) if found["loc"] else ""
    if field not in Settings.model_fields:
        return f"{field}: {found['msg']}"
    default = Settings.model_fields[field].default
    shown = "" if isinstance(default, SecretStr) else f"; its default is {default!s}"
    what = found["msg"][0].lower() + found["msg"][1:]
    return f"{PREFIX}{field.upper()}: {what}. Write such a value, or unset it{shown}."
