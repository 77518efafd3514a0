"""The stacks of examples/stacks, rendered for both targets and held to checked-in files that people read.

After a change that is meant, run this file as a script: it writes them anew.
"""

from __future__ import annotations

import json
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from freehold.config.load import load
from freehold.config.settings import Settings
from freehold.core.machine import GIB, Machine
from freehold.operate.containers import described, for_containers
from freehold.stack.plan import Stack, plan
from freehold.targets.compose.render import Project, render, secrets
from freehold.targets.compose.yaml import document
from freehold.targets.native.layout import Layout
from freehold.targets.native.render import render as render_native
from freehold.targets.versions import versions

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "stacks"
GOLDEN = ROOT / "tests" / "golden" / "stacks"
CASES = sorted(path.parent.name for path in EXAMPLES.glob("*/freehold.toml"))

#: What they are planned on; they describe the machine they are for.
HERE = Machine("Linux", "x86_64", 2, 4 * GIB)


#: What a target has to fill; nginx and Grafana have `${…}` of their own.
_PLACEHOLDER = re.compile(r"\$\{(host|port|address|listen|files|data|sockets|secret|secret_file|home|config|model|project|ready)[:}]")


@cache
def settings(case: str) -> Settings:
    return load(EXAMPLES / case / "freehold.toml", environ={}).settings


@cache
def containers(case: str) -> tuple[Stack, Project]:
    stack = plan(for_containers(settings(case)), HERE, version="1")
    told = described(settings(case), stack, None, image=f"{stack.name}-agent:1-0f1e2d3c4b5a", builds=True)
    return stack, Project(**{**vars(told), "user": (10001, 10001), "version": "1"})


@cache
def files(case: str) -> dict[str, str]:
    """Path in the Compose folder -> text."""
    return render(*containers(case))


def compose(case: str) -> dict[str, Any]:
    return yaml.safe_load(files(case)["compose.yaml"])  # type: ignore[no-any-return]


def services(case: str) -> list[tuple[str, dict[str, Any]]]:
    return list(compose(case)["services"].items())


def native(case: str) -> str:
    """The processes as YAML; without the fingerprint, which changes with every new setting."""
    wanted = settings(case).model_copy(update={"stack": settings(case).stack.model_copy(update={"target": "native"})})
    stack = plan(wanted, HERE, version="1")
    programs = {service.program: (f"/programs/{service.program}",) for service in stack.services} | {"initdb": ("/programs/initdb",)}
    layout = Layout(
        home=Path("/project/.freehold"),
        runtime=Path("/tmp/freehold-1000-3f9a1c02"),
        project=Path("/project"),
        identity="3f9a1c02",
        programs=programs,
        administrators=("ada",),
        config=Path("/project/freehold.toml"),
        models={name: Path("/cache/models") / model.id for name, model in stack.models.items()},
    )
    tree = json.loads(render_native(stack, layout, version="1").to_json())
    return document({**tree, "fingerprint": "-"}, f"{case}, without containers: what the supervisor starts.")


def expected(case: str) -> dict[str, str]:
    """Path below tests/golden/stacks/<case> -> text. Entrypoints and dashboards are the same everywhere, and have tests of their own."""
    written = {f"compose/{name}": text for name, text in files(case).items() if not name.startswith(("entrypoint", "files/grafana/dash"))}
    return {**written, "native.yaml": native(case)}


@pytest.mark.parametrize("case", CASES)
def test_an_example_renders_as_it_did(case: str) -> None:
    folder = GOLDEN / case
    checked_in = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert checked_in == expected(case), f"if the change is meant: python {Path(__file__).relative_to(ROOT)}"


@pytest.mark.parametrize("case", CASES)
def test_no_service_refers_to_something_that_is_not_there(case: str) -> None:
    tree = compose(case)
    for name, service in tree["services"].items():
        assert set(service.get("depends_on", ())) <= tree["services"].keys(), name
        assert set(service.get("networks", ())) <= tree["networks"].keys(), name
        assert set(service.get("secrets", ())) <= tree.get("secrets", {}).keys(), name
        assert {config["source"] for config in service.get("configs", ())} <= tree["configs"].keys(), name
        assert {mount.split(":")[0] for mount in _mounts(service) if mount[0] not in "./"} <= tree.get("volumes", {}).keys(), name
    for mount in (mount for _, service in services(case) for mount in _mounts(service) if mount.startswith("./files/")):
        assert any(path.startswith(mount.split(":")[0].removeprefix("./") + "/") for path in files(case)), mount
    for config in tree["configs"].values():
        assert config["file"].removeprefix("./") in files(case)


def _mounts(service: dict[str, Any]) -> list[str]:
    return [mount for mount in service.get("volumes", ()) if isinstance(mount, str)]


@pytest.mark.parametrize("case", CASES)
def test_every_address_that_is_told_is_one_of_a_service(case: str) -> None:
    for name, service in services(case):
        for text in [*service.get("environment", {}).values(), *service.get("command", ())]:
            assert not _PLACEHOLDER.search(str(text)), (name, text)
    for path, text in files(case).items():
        assert "${" not in text or path == "compose.yaml" or path.startswith("entrypoint") or "nginx" in path or "/dashboards/" in path, (
            path
        )


@pytest.mark.parametrize("case", CASES)
def test_who_is_told_an_address_shares_a_network_with_it(case: str) -> None:
    tree = compose(case)["services"]
    address = re.compile(rf"(?<![A-Za-z0-9_./-])({'|'.join(sorted(tree, key=len, reverse=True))}):\d+")
    for name, service in tree.items():
        own = [text for path, text in files(case).items() if path.startswith(f"files/{name}/") and "/dashboards/" not in path]
        texts = [*map(str, service.get("environment", {}).values()), *map(str, service.get("command", ())), *own]
        if name == "migrate":  # is told which models there are, as all of ours, and asks none
            continue
        told = {host for text in texts for host in address.findall(text.replace("//", " ").replace("@", " "))} - {name}
        for host in told:
            assert set(service["networks"]) & set(tree[host]["networks"]), f"{name} cannot reach {host}"


@pytest.mark.parametrize("case", CASES)
def test_only_the_edge_is_reached_from_outside(case: str) -> None:
    assert {name for name, service in services(case) if "ports" in service} <= {"edge"}


@pytest.mark.parametrize("case", CASES)
def test_every_service_is_held_in(case: str) -> None:
    for name, service in services(case):
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        assert "privileged" not in service and service.get("network_mode") != "host", name
        assert {"mem_limit", "pids_limit", "restart"} <= service.keys(), name
        assert service["user"] == {"owners": "0:0", "node-exporter": "65534:65534"}.get(name, "10001:10001"), name
        assert service.get("cap_add", []) == (["CHOWN"] if name == "owners" else []), name


@pytest.mark.parametrize("case", CASES)
def test_no_network_but_one_leads_outside_and_stores_and_models_are_not_on_it(case: str) -> None:
    tree = compose(case)
    assert all(network.get("internal") or name in ("out", "front") for name, network in tree["networks"].items())
    for name in ("postgres", "valkey", "cache", "pooler", *containers(case)[0].models):
        assert not {"out", "front"} & set(tree["services"].get(name, {}).get("networks", ())), name


@pytest.mark.parametrize("case", CASES)
def test_every_image_is_of_an_exact_version(case: str) -> None:
    images = {service["image"].split("@")[0] for _, service in services(case)}
    assert [
        image for image in images if image.endswith(":latest") or not any(letter.isdigit() for letter in image.rpartition(":")[2])
    ] == []
    assert {service.program for service in containers(case)[0].services} - {"freehold", "python"} <= versions().keys()


@pytest.mark.parametrize("case", CASES)
def test_secrets_are_told_by_name_alone(case: str) -> None:
    stack, project = containers(case)
    declared = {secret.name for secret in stack.secrets}
    assert set(secrets(stack, project)) <= declared
    for name, service in services(case):
        words = {word.split("}}")[0] for text in service.get("environment", {}).values() for word in str(text).split("{{secret:")[1:]}
        assert words <= set(service.get("secrets", ())), name


if __name__ == "__main__":
    shutil.rmtree(GOLDEN, ignore_errors=True)
    for case in CASES:
        for path, text in expected(case).items():
            (GOLDEN / case / path).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / case / path).write_text(text)
