"""What infra/ says of clusters, held against schemas and against the project itself; nothing of it is run here."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer.main
import yaml
from compose_spec import PyCompose
from kubeflow_spark_api.models.spark_v1beta2_scheduled_spark_application import SparkV1beta2ScheduledSparkApplication

from mailwarden.settings import Settings
from mailwarden_services.cli.application import app

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
MANIFESTS = sorted(path for path in (INFRA / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml")
SPARK = "sparkoperator.k8s.io/v1beta2"
KUBERNETES = kubernetes_validate.latest_version()


def documents() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{path.name}: {body['kind']} {body['metadata']['name']}", body)
        for path in MANIFESTS
        for body in yaml.safe_load_all(path.read_text())
    ]


DOCUMENTS = documents()


def values(body: Any, wanted: str) -> Iterator[Any]:
    """Every value under a name, however deep."""
    if isinstance(body, dict):
        for name, value in body.items():
            if name == wanted:
                yield value
            yield from values(value, wanted)
    elif isinstance(body, list):
        for value in body:
            yield from values(value, wanted)


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((INFRA / "compose.yaml").read_text()))


def unknown_fields(given: Any, read: Any, where: str = "") -> list[str]:
    """Names that a schema's model passed over when it read a body."""
    if isinstance(given, dict):
        return [
            found
            for name, value in given.items()
            for found in (
                unknown_fields(value, read[name], f"{where}.{name}") if name in (read or {}) else [f"{where}.{name}"]
            )
        ]
    if isinstance(given, list):
        return [found for one, other in zip(given, read, strict=True) for found in unknown_fields(one, other, where)]
    return []


@pytest.mark.parametrize(("name", "body"), DOCUMENTS, ids=[name for name, _ in DOCUMENTS])
def test_a_manifest_has_only_what_its_schema_knows(name: str, body: dict[str, Any]) -> None:
    if body["apiVersion"] == SPARK:
        assert body["kind"] == "ScheduledSparkApplication"
        read = SparkV1beta2ScheduledSparkApplication.from_dict(body)
        assert unknown_fields(body, read.to_dict()) == []
    else:
        kubernetes_validate.validate(body, KUBERNETES, strict=True)


def test_the_schemas_refuse_a_name_that_is_not_theirs() -> None:
    bodies = {body["kind"]: body for _, body in documents()}
    wrong = bodies["StatefulSet"]
    wrong["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)
    scheduled = bodies["ScheduledSparkApplication"]
    scheduled["spec"]["template"]["driver"]["memoryOverhed"] = "1g"
    read = SparkV1beta2ScheduledSparkApplication.from_dict(scheduled)
    assert unknown_fields(scheduled, read.to_dict()) == [".spec.template.driver.memoryOverhed"]


def test_kustomize_names_every_manifest() -> None:
    listed = yaml.safe_load((INFRA / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    assert sorted([*listed, "secrets.example.yaml"]) == [path.name for path in MANIFESTS]


def test_what_manifests_refer_to_is_there() -> None:
    there = {(body["kind"], body["metadata"]["name"]): body for _, body in DOCUMENTS}
    referred: set[tuple[str, str]] = set()
    for _, body in DOCUMENTS:
        referred |= {("ConfigMap", found["name"]) for found in values(body, "configMapRef")}
        referred |= {("ConfigMap", found["name"]) for found in values(body, "configMap")}
        referred |= {("Secret", found["name"]) for found in values(body, "secretRef")}
        referred |= {("PersistentVolumeClaim", f["claimName"]) for f in values(body, "persistentVolumeClaim")}
        referred |= {("ServiceAccount", found) for found in values(body, "serviceAccount")}
        referred |= {("Service", found) for found in values(body, "serviceName")}
        for found in values(body, "secretKeyRef"):
            assert found["key"] in there["Secret", found["name"]]["stringData"]
        for mount in values(body, "volumeMounts"):
            spec = body["spec"]["template"].get("spec", body["spec"]["template"])
            claims = [claim["metadata"]["name"] for claim in body["spec"].get("volumeClaimTemplates", [])]
            assert {found["name"] for found in mount} <= {*claims, *[volume["name"] for volume in spec["volumes"]]}
    assert len(referred) > 6
    assert referred <= set(there)
    assert {body["metadata"].get("namespace", "mailwarden") for _, body in DOCUMENTS} == {"mailwarden"}


def test_every_setting_is_one_of_ours() -> None:
    named = {
        name
        for _, body in DOCUMENTS
        for data in [body.get("data", {}), body.get("stringData", {})]
        for name in data
        if name.startswith("MAILWARDEN_")
    }
    for service in compose()["services"].values():
        named |= {name for name in service.get("environment", {}) if name.startswith("MAILWARDEN_")}
    assert len(named) > 5
    assert {name.removeprefix("MAILWARDEN_").lower() for name in named} <= set(Settings.model_fields)


def commands() -> list[list[str]]:
    """Every command of ours that a container is told to run, without the program's name."""
    found = [
        list(command)
        for _, body in DOCUMENTS
        for containers in values(body, "containers")
        for command in [container["command"] for container in containers]
    ]
    found += [list(service["command"]) for service in compose()["services"].values() if "command" in service]
    dockerfile = (INFRA / "container" / "Dockerfile").read_text()
    found.append(list(yaml.safe_load(re.findall(r"^CMD (.*)$", dockerfile, re.MULTILINE)[-1])))
    found += [["mailwarden", *words] for _, body in DOCUMENTS for words in values(body, "arguments")]
    return [command[1:] for command in found if command[0] == "mailwarden"]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_is_one_that_the_command_line_takes(words: list[str]) -> None:
    group = typer.main.get_command(app)
    command = group.get_command(group.make_context("mailwarden", list(words), resilient_parsing=True), words[0])  # type: ignore[attr-defined]
    assert command is not None
    command.make_context(words[0], words[1:])


def test_writers_of_some_partitions_can_be_asked_for() -> None:
    containers = [container for _, body in DOCUMENTS for found in values(body, "containers") for container in found]
    (command,) = (container["command"] for container in containers if "-m" in container["command"])
    assert command[0] == "python3"
    asked = subprocess.run(
        [sys.executable, *command[1:3], "--help"], capture_output=True, text=True, check=False, timeout=60
    )
    assert asked.returncode == 0
    assert command[3] in asked.stdout
    settings = next(body for _, body in DOCUMENTS if body["metadata"]["name"] == "mailwarden-settings")
    writers = next(body for name, body in DOCUMENTS if name.startswith("writers.yaml: StatefulSet"))
    assert writers["spec"]["replicas"] == int(settings["data"]["MAILWARDEN_STREAMS"])


def test_the_compose_file_has_only_what_its_schema_knows() -> None:
    body = compose()
    read = PyCompose.from_yaml(yaml.safe_dump({name: part for name, part in body.items() if not name.startswith("x-")}))
    read.validate()
    assert set(read.service_names()) == set(body["services"])
    volumes = {mount.partition(":")[0] for service in body["services"].values() for mount in service.get("volumes", [])}
    assert volumes == set(body["volumes"])
    for service in body["services"].values():
        assert set(service.get("depends_on", [])) <= set(body["services"])


def test_the_image_holds_this_project_and_one_spark() -> None:
    dockerfile = (INFRA / "container" / "Dockerfile").read_text()
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split())
    assert re.search(r"^FROM apache/spark:(\S+) AS spark$", dockerfile, re.MULTILINE)[1] == version("pyspark")  # type: ignore[index]
    scheduled = next(body for _, body in DOCUMENTS if body["apiVersion"] == SPARK)
    assert scheduled["spec"]["template"]["sparkVersion"] == version("pyspark")
    main = scheduled["spec"]["template"]["mainApplicationFile"].removeprefix("local:///opt/mailwarden/")
    assert (ROOT / main).is_file()
    images = {image for _, body in DOCUMENTS for image in values(body, "image") if not image.startswith("redis:")}
    assert images == {f"registry.example/mailwarden:{version('mailwarden')}"}


def test_nothing_lies_beside_the_file_that_spark_runs() -> None:
    # Its folder comes first on the path of the driver, so that a file beside it could hide a package.
    assert [path.name for path in (INFRA / "spark").glob("*.py")] == ["main.py"]


def test_submit_refuses_what_it_cannot_hand_on() -> None:
    for words in ([], ["--master", "spark://h:7077"], ["--", "materialize"], ["--master", "m", "--what", "--", "skew"]):
        asked = subprocess.run([INFRA / "spark" / "submit", *words], capture_output=True, text=True, check=False)
        assert asked.returncode == 64
        assert "infra/spark/submit --master" in asked.stderr
