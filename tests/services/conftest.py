"""A Mailwarden of the tests' own: real Redis, SQLite, Delta and spool, and models trained on simulated mail."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvicorn
from fastapi.testclient import TestClient
from pydantic import SecretStr

from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Envelope
from mailwarden.settings import Settings
from mailwarden.simulation.company import company
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.simulation.simulate import simulate
from mailwarden.stores.content_code import content_set
from mailwarden.stores.lake.event_log import table_to_events
from mailwarden.stores.lists import load_lists
from mailwarden.stores.online.client import open_client
from mailwarden.stores.online.keys import KeyTemplate, state_field
from mailwarden.stores.online.server import RedisServer
from mailwarden.stores.sql.keys import TENANT_ROLES
from mailwarden.testing.content_models import train_on_content
from mailwarden.testing.folded import folded
from mailwarden.training.register import register
from mailwarden.training.train import Trained
from mailwarden_detectors import discover as discover_detectors
from mailwarden_features import discover as discover_features
from mailwarden_services.bootstrap import Platform
from mailwarden_services.cli import application, progress
from mailwarden_services.feature_writer.writer import FeatureWriter
from mailwarden_services.reading.lanes import Lane
from mailwarden_services.scoring_api.app import create_app
from mailwarden_services.scoring_api.service import Service
from mailwarden_services.scoring_service import scoring_service

# The server that children are forked off imports what scoring needs, whichever test is the first to need a child.
multiprocessing.get_context("forkserver").set_forkserver_preload(
    ["mailwarden_services.scoring_worker.work", "mailwarden_services.scoring_worker.preloaded"]
)

SEED = 7
ONE_LANE = (Lane(None, 1, 0),)
"""One scoring process for all mail: each start of an API forks one, and not one a lane."""
TENANTS = ("acme", "other")


def rfc3339(time_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).isoformat()


@pytest.fixture(autouse=True)
def logs_unconfigured() -> Iterator[None]:
    """A command that a test runs in this process sets a level of its own, which is none of the next test's."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def simulated() -> list[SimulatedMessage]:
    """Some weeks of a made-up company's mail, in order of arrival."""
    return list(simulate(SEED, days=21, messages_per_day=50))


@pytest.fixture(scope="session")
def trained_bundle(simulated: list[SimulatedMessage]) -> Trained:
    """Detectors trained on what each message alone says, history withheld."""
    return train_on_content(
        simulated,
        content_set(discover_features().content, load_lists()),
        discover_detectors(),
        authserv_id=company(SEED).authserv_id,
        withheld=[view.name for view in discover_features().activity],
        seed=SEED,
    )


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis server of the tests' own, on a socket; stopped at the end."""
    if shutil.which("redis-server") is None:
        pytest.skip("Redis server not installed")
    folder = Path(tempfile.mkdtemp(prefix="mailwarden-redis-"))
    with RedisServer(folder) as server:
        yield server
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Home:
    """A folder with a database, two tenants, their keys, and a model that serves."""

    folder: Path
    keys: Mapping[str, str]


@pytest.fixture(scope="session")
def model_home(trained_bundle: Trained, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """What each test copies."""
    home = tmp_path_factory.mktemp("home")
    platform = Platform(Settings(home=home))
    keys = {}
    for name in TENANTS:
        platform.tenants.create(
            name,
            domains=company(SEED).domains if name == "acme" else ("other.example",),
            trusted_authserv_ids=(company(SEED).authserv_id,),
            created_us=1,
        )
        keys[name] = platform.tenants.issue_key(name, "tests", 1, TENANT_ROLES)
    register(
        trained_bundle, platform.registry, platform.artefacts, code_revision="tests", created_us=2, promote="tests"
    )
    platform._engine.dispose()
    return Home(home, keys)


@dataclass
class Warden:
    """One platform in a folder, its API behind a client, and its feature writers."""

    settings: Settings
    keys: Mapping[str, str]
    platform: Platform = field(init=False)
    service: Service | None = None

    def __post_init__(self) -> None:
        self.platform = Platform(self.settings)

    def headers(self, tenant: str = "acme") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[tenant]}"}

    @contextlib.contextmanager
    def api(self, tenant: str = "acme", **given: Any) -> Iterator[Api]:
        """The API as its process would run it; leaving stops it, entering again is a restart.

        given: of the platform, such as content views of the test's own.
        """
        self.platform = Platform(self.settings, **given)
        self.service = scoring_service(self.platform, lanes=ONE_LANE)
        app = create_app(self.service)
        with TestClient(app, raise_server_exceptions=False, headers=self.headers(tenant)) as client:
            yield Api(client)

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        """The API on a port of its own, as uvicorn serves it: its address."""
        self.platform = Platform(self.settings)
        self.service = scoring_service(self.platform)
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            server = uvicorn.Server(uvicorn.Config(create_app(self.service), log_level="critical", lifespan="on"))
            running = threading.Thread(target=server.run, args=([listening],))
            running.start()
            try:
                while not server.started:
                    assert running.is_alive()
                    time.sleep(0.01)
                yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            finally:
                server.should_exit = True
                running.join()

    def promote(self, trained: Trained, *, of_other_code: Sequence[str] = ()) -> int:
        """Have a bundle serve, and its version. of_other_code: its detectors that classes fitted which are not here."""
        members = {
            name: replace(member, code=99) if name in of_other_code else member
            for name, member in trained.bundle.members.items()
        }
        changed = replace(trained, bundle=replace(trained.bundle, members=members))
        platform = Platform(self.settings)
        records = register(
            changed, platform.registry, platform.artefacts, code_revision="tests", created_us=3, promote="tests"
        )
        return records["bundle"].version

    def writer(self, **options: Any) -> FeatureWriter:
        made = Platform(self.settings).feature_writer()
        for name, value in options.items():
            setattr(made.batches, name, value)
        return made

    def folded_up_to(self, tenant: str = "acme") -> int:
        """The seq up to which every partition has folded a tenant; 0 where nothing is."""
        mark = Platform(self.settings).online_writer.generations.marks.whole(tenant)
        return 0 if mark is None else mark.seq

    def drain(self, writer: FeatureWriter | None = None) -> FeatureWriter:
        """Fold and log all that the spool holds."""
        writer = writer or self.writer()
        idle = 0
        # A step without work may be one that leaves Redis alone for a moment.
        while idle < 3:
            idle = 0 if writer.step() else idle + 1
            time.sleep(0.02 * (idle > 0))
        writer.flush()
        return writer

    def events(self) -> list[Event]:
        """What the event log holds, in order of seq."""
        log = Platform(self.settings).events
        return sorted(table_to_events(log.scan().read_all()), key=lambda event: (event.tenant, event.seq))

    def online(self) -> dict[bytes, dict[bytes, bytes]]:
        """Every entity's hash in Redis."""
        with open_client(self.settings.redis_url.get_secret_value(), timeout_seconds=5) as client:
            keys = [key for key in client.scan_iter() if not key.startswith(b"mailwarden:")]
            return {key: client.hgetall(key) for key in keys}

    def folded(self, events: Sequence[Event]) -> dict[bytes, dict[bytes, bytes]]:
        """The states that folding these events one after another gives, as Redis would hold them."""
        expected: dict[bytes, dict[bytes, bytes]] = {}
        for view in self.platform.activity:
            for (tenant, key), state in folded(view, events).items():
                name = KeyTemplate(self.settings.project, view.keys).key(tenant, key)
                expected.setdefault(name, {})[state_field(view)] = state.to_bytes()
        return expected

    def states(self) -> dict[bytes, dict[bytes, bytes]]:
        """`online` without sketches, to be held against `folded`."""
        fields = {state_field(view) for view in self.platform.activity}
        return {
            key: {name: value for name, value in values.items() if name in fields}
            for key, values in self.online().items()
        }


@dataclass(frozen=True)
class Api:
    """A client that speaks as a mail system does."""

    client: TestClient

    def score(self, raw: bytes, envelope: Envelope | None = None, *, path: str = "/v1/score", **headers: str) -> Any:
        sent = {"Content-Type": "message/rfc822"} | {name.replace("_", "-"): v for name, v in headers.items()}
        if envelope is not None:
            assert envelope.received_at_us is not None
            sent["X-Mailwarden-Received-At"] = rfc3339(envelope.received_at_us)
            if envelope.mail_from is not None:
                sent["X-Mailwarden-Mail-From"] = envelope.mail_from
            sent["X-Mailwarden-Rcpt-To"] = ",".join(envelope.rcpt_to)
        return self.client.post(path, content=raw, headers=sent)

    def send(self, message: SimulatedMessage, **headers: str) -> dict[str, Any]:
        """Score one simulated message, which must succeed."""
        response = self.score(message.raw, message.envelope, **headers)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def label(self, **body: Any) -> Any:
        return self.client.post("/v1/labels", json=body)


@pytest.fixture
def warden(model_home: Home, redis_server: RedisServer, tmp_path: Path) -> Iterator[Warden]:
    """A platform with a model, an empty Redis and nothing logged."""
    with open_client(redis_server.url, timeout_seconds=10) as client:
        client.flushall()
    home = tmp_path / "home"
    shutil.copytree(model_home.folder, home)
    yield Warden(
        Settings(home=home, redis_url=SecretStr(redis_server.url), redis_timeout_seconds=2.0, spool_fsync=False),
        model_home.keys,
    )


@pytest.fixture(scope="session")
def quarantined(
    simulated: list[SimulatedMessage],
    model_home: Home,
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[SimulatedMessage]:
    """Late attacks from outside that these models quarantine, those first that they are surest of."""
    home = tmp_path_factory.mktemp("seen") / "home"
    shutil.copytree(model_home.folder, home)
    settings = Settings(home=home, redis_url=SecretStr(redis_server.url), redis_timeout_seconds=2.0, spool_fsync=False)
    attacks = [m for m in simulated[-400:] if m.label not in ("ham", "SP") and m.envelope.mail_from]
    with Warden(settings, model_home.keys).api() as api:
        answers = [api.score(m.raw, m.envelope, path="/v1/score?observe=false").json() for m in attacks]
    falling = sorted(zip(attacks, answers, strict=True), key=lambda pair: -pair[1]["log_odds"])
    found = [message for message, answer in falling if answer["verdict"] == "quarantine"]
    assert found, answers
    return found


@pytest.fixture(scope="session")
def seen_through(quarantined: list[SimulatedMessage]) -> SimulatedMessage:
    """The one that they are surest of."""
    return quarantined[0]


@pytest.fixture(scope="session")
def barely_quarantined(quarantined: list[SimulatedMessage]) -> SimulatedMessage:
    """The one that they are least sure of."""
    return quarantined[-1]


@pytest.fixture
def own_redis(warden: Warden) -> Iterator[tuple[Warden, RedisServer]]:
    """The same over a Redis that a test may stop and start."""
    folder = Path(tempfile.mkdtemp(prefix="mw-redis-"))
    server = RedisServer(folder, append_only=True)
    server.start()
    settings = warden.settings.model_copy(update={"redis_url": SecretStr(server.url), "redis_timeout_seconds": 0.25})
    yield Warden(settings, warden.keys), server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables have a line a row, whatever width a terminal had when the console was made."""
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setattr(progress.out, "width", 250)


@pytest.fixture
def run(
    wide: None, warden: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `mailwarden ...` in this process, over the test's home: exit code, standard output, standard error."""
    for name in [name for name in os.environ if name.startswith("MAILWARDEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MAILWARDEN_HOME", str(warden.settings.root))
    monkeypatch.setenv("MAILWARDEN_REDIS_URL", warden.settings.redis_url.get_secret_value())

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mailwarden", *words])
        capsys.readouterr()
        try:
            application.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture(scope="session")
def warden_type() -> type[Warden]:
    """What makes a platform in a folder of a test's own."""
    return Warden
