"""The Dockerfile of a project: compared with checked-in ones, and what cannot be an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.core.errors import NotSupported
from freehold.graphs.project_config import BUILD_KEYS, BuildConfig, parse
from freehold.operate.build.image import DOCKERIGNORE, Definition, base_image, dockerfile

GOLDEN = Path(__file__).parents[3] / "golden"

#: Name of the golden file -> keys of langgraph.json, and whether everything has a wheel.
CASES: dict[str, tuple[dict[str, object], bool]] = {
    "defaults": ({}, True),
    "every-key": (
        {
            "python_version": "3.13",
            "image_distro": "bookworm",
            "dockerfile_lines": ["RUN apt-get update && apt-get install --yes libmagic1", "ENV COLOUR=red"],
            "pip_config_file": "conf/pip.conf",
            "keep_pkg_tools": ["pip"],
        },
        False,
    ),
}


def build(keys: dict[str, object]) -> BuildConfig:
    return parse(BuildConfig, keys, BUILD_KEYS, Path("langgraph.json"))


@pytest.mark.parametrize("name", CASES)
def test_the_dockerfile_is_the_checked_in_one(name: str) -> None:
    keys, wheels_only = CASES[name]
    config = build(keys)
    python = config.python_version or "3.12"
    text = dockerfile(Definition(base_image(config, python), python, config, "translator_agents/langgraph.json", wheels_only))
    golden = GOLDEN / f"image-{name}.Dockerfile"
    assert text == golden.read_text(), f"if the change is meant: python {Path(__file__).name}"


def test_the_image_runs_as_nobody_and_holds_no_installer() -> None:
    text = (GOLDEN / "image-defaults.Dockerfile").read_text()
    last = text[text.rindex("FROM ") :]
    assert "USER 10001:10001" in last
    assert "pip uninstall" in last
    assert "HEALTHCHECK" in last
    assert last.index("USER") < last.index("ENTRYPOINT")


def test_an_extra_authority_is_trusted_beside_the_public_ones_and_only_where_there_is_one() -> None:
    config = build({})
    definition = Definition(base_image(config, "3.12"), "3.12", config, None, wheels_only=True, extra_authority=True)
    builder, last = dockerfile(definition).rsplit("\nFROM base\n", 1)
    assert 'RUN cat "$(/opt/agents/bin/python -m certifi)" extra-ca.crt > /opt/agents/authorities.pem' in builder
    assert "ENV SSL_CERT_FILE=/opt/agents/authorities.pem REQUESTS_CA_BUNDLE=/opt/agents/authorities.pem" in last
    assert "FREEHOLD_AGENTS" not in last
    assert "authorities" not in (GOLDEN / "image-defaults.Dockerfile").read_text()


def test_nothing_but_what_is_named_goes_to_the_daemon() -> None:
    assert DOCKERIGNORE.splitlines()[0] == "*"
    assert not [line for line in DOCKERIGNORE.splitlines()[1:] if not line.startswith("!")]


def test_a_base_image_of_the_projects_own_is_taken() -> None:
    assert base_image(build({"base_image": "registry.example/python:3.12"}), "3.12") == "registry.example/python:3.12"


@pytest.mark.parametrize(
    ("keys", "message"),
    [({"base_image": "langchain/langgraph-api:3.11"}, "another server"), ({"image_distro": "wolfi"}, '"wolfi" is not supported')],
)
def test_what_cannot_be_an_image_here_is_refused_by_name(keys: dict[str, object], message: str) -> None:
    with pytest.raises(NotSupported, match=message):
        base_image(build(keys), "3.12")


if __name__ == "__main__":
    for name, (keys, wheels_only) in CASES.items():
        config = build(keys)
        python = config.python_version or "3.12"
        definition = Definition(base_image(config, python), python, config, "translator_agents/langgraph.json", wheels_only)
        (GOLDEN / f"image-{name}.Dockerfile").write_text(dockerfile(definition))
