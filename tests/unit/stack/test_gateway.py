"""The gateway as a value: what LiteLLM is told, and that no key stands in it."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest

from freehold.config.services import GatewaySection
from freehold.config.settings import Settings
from freehold.core.errors import ConfigError
from freehold.core.machine import GIB, Machine
from freehold.stack.gateway import config
from freehold.stack.gateway.config import Upstream
from freehold.stack.plan import plan
from freehold.stack.service import Service

CPU = Machine("Linux", "x86_64", 8, 16 * GIB)
BIG = Upstream("big-7b", "http://${address:model}/v1", "${secret:model_key}")
SMALL = Upstream("small-1b", "http://gpu:8000/v1", None, "models.small")


def told(*upstreams: Upstream, with_database: bool = False, **wanted: Any) -> dict[str, Any]:
    return dict(json.loads(config.text(GatewaySection.model_validate(wanted), upstreams, with_database=with_database)))


def gateway(tree: dict[str, Any]) -> Service:
    tree = {**tree, "stack": {"services": ["gateway"], **tree.get("stack", {})}}
    found = plan(Settings.model_validate(tree), CPU, version="1").service("gateway")
    assert found is not None
    return found


def test_each_model_is_asked_at_its_own_address_with_a_key_from_the_environment() -> None:
    models = told(BIG, SMALL)["model_list"]
    assert [(one["model_name"], one["litellm_params"]["api_base"], one["litellm_params"]["api_key"]) for one in models] == [
        ("big-7b", "http://${address:model}/v1", "os.environ/GATEWAY_MODEL_KEY"),
        ("small-1b", "http://gpu:8000/v1", "none"),
    ]


def test_a_model_has_its_section_s_name_and_its_aliases() -> None:
    aliases = told(BIG, SMALL, aliases=["gpt-4o=big-7b"])["router_settings"]["model_group_alias"]
    assert aliases == {"small": "small-1b", "gpt-4o": "big-7b"}


@pytest.mark.parametrize("name", ["small", "small-1b"])
def test_the_fallback_answers_for_the_default_model(name: str) -> None:
    assert told(BIG, SMALL, fallback=name)["router_settings"]["fallbacks"] == [{"big-7b": ["small-1b"]}]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"aliases": ["gpt-4o=huge"]}, 'gateway.aliases: "gpt-4o" names the model "huge", and there is "big-7b", "small-1b"'),
        ({"aliases": ["big-7b=small-1b"]}, 'gateway.aliases: "big-7b" is the name of a model already'),
        ({"fallback": "big-7b"}, 'gateway.fallback: expected another model than the default one, got "big-7b"; there is "small"'),
        ({"fallback": "huge"}, 'gateway.fallback: expected another model than the default one, got "huge"; there is "small"'),
    ],
    ids=["an alias of nothing", "an alias that is a model", "the default as its own fallback", "a fallback that is not there"],
)
def test_a_name_of_no_model_is_refused(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        told(BIG, SMALL, **wanted)
    assert caught.value.message == message


def test_natively_it_takes_our_keys_and_in_containers_it_keeps_its_own() -> None:
    native, contained = gateway({}), gateway({"stack": {"target": "compose"}})
    assert [file.name for file in native.files] == ["litellm.yaml", "keys.py"]
    assert (native.database, contained.database) == (None, "litellm")
    assert "DATABASE_URL" in contained.env
    assert '"custom_auth"' in native.files[0].text
    assert '"custom_auth"' not in contained.files[0].text


@pytest.mark.parametrize(("auth", "asked"), [("none", False), ("keys", True)])
def test_the_agent_server_is_asked_for_keys_only_where_it_takes_some(auth: str, asked: bool) -> None:
    assert ("FREEHOLD_GATEWAY_SERVER" in gateway({"server": {"auth": auth}}).env) is asked


def test_no_key_stands_in_its_files_or_arguments() -> None:
    service = gateway({"model": {"base_url": "http://gpu/v1", "api_key": "hush", "name": "m"}})
    assert "hush" not in repr(service)
    assert not [text for text in (*service.args, *(file.text for file in service.files)) if "${secret:" in text]
    assert service.env["GATEWAY_MODEL_KEY"] == "${secret:endpoint_key}"


def test_without_a_model_there_is_nothing_to_lead_to() -> None:
    tree = {"stack": {"services": ["gateway"]}, "model": {"engine": "none"}}
    assert plan(Settings.model_validate(tree), CPU, version="1").service("gateway") is None


def test_the_file_that_knows_our_keys_is_python() -> None:
    assert "caller" in {node.name for node in ast.parse(gateway({}).files[1].text).body if isinstance(node, ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("agents", "address"), [(None, "model"), (True, "gateway")], ids=["as it comes", "wanted"])
def test_agents_go_through_it_where_that_is_wanted(agents: bool | None, address: str) -> None:
    tree = {"stack": {"services": ["gateway"]}, "gateway": {"agents": agents}}
    server = plan(Settings.model_validate(tree), CPU, version="1").service("server")
    assert server is not None
    assert server.env["OPENAI_BASE_URL"] == f"http://${{address:{address}}}/v1"


def test_a_fallback_is_for_agents_too() -> None:
    assert GatewaySection(fallback="small").serves_agents
    assert not GatewaySection(fallback="small", agents=False).serves_agents
