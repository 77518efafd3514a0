"""LiteLLM's configuration file from typed values. Keys stand in it as `os.environ/NAME`, which it reads when it starts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freehold.config.services import GatewaySection
from freehold.core.errors import ConfigError

#: The file that the service is started with. What is valid JSON is valid YAML.
NAME = "litellm.yaml"


@dataclass(frozen=True)
class Upstream:
    """A model behind the gateway."""

    #: What clients send as `model`.
    name: str
    #: With placeholders, e.g. `http://${address:model}/v1`.
    base_url: str
    #: Reference to the secret with its key, e.g. `${secret:model_key}`; None: it takes none.
    key: str | None
    #: How it stands in freehold.toml, e.g. "model" or "models.small".
    section: str = "model"

    @property
    def variable(self) -> str:
        """The variable that holds its key, e.g. `GATEWAY_MODELS_SMALL_KEY`."""
        return f"GATEWAY_{self.section.upper().replace('.', '_').replace('-', '_')}_KEY"


def text(gateway: GatewaySection, upstreams: Sequence[Upstream], *, with_database: bool) -> str:
    """The whole file.

    Raises:
        ConfigError: an alias or the fallback names a model that is not there.
    """
    names = [upstream.name for upstream in upstreams]
    config = {
        "model_list": [_entry(upstream) for upstream in upstreams],
        "router_settings": {
            "num_retries": gateway.retries,
            "timeout": gateway.timeout_seconds,
            "model_group_alias": {**_sections(upstreams), **_aliases(gateway, names)},
            **_fallbacks(gateway, upstreams),
        },
        "litellm_settings": {
            "callbacks": ["prometheus"],
            "telemetry": False,
            "turn_off_message_logging": True,
            "drop_params": True,
            "require_auth_for_metrics_endpoint": not with_database,
        },
        "general_settings": {
            "master_key": "os.environ/LITELLM_MASTER_KEY",
            **(
                {"database_url": "os.environ/DATABASE_URL", "store_prompts_in_spend_logs": False}
                if with_database
                else {"custom_auth": "keys.caller", "custom_auth_run_common_checks": True}
            ),
        },
    }
    return json.dumps(config, indent=2) + "\n"


def _entry(upstream: Upstream) -> Mapping[str, object]:
    """An endpoint whose model has no name here ("auto") is asked for whatever clients ask for."""
    name = "*" if upstream.name == "auto" else upstream.name
    key = f"os.environ/{upstream.variable}" if upstream.key else "none"
    return {
        "model_name": name,
        "litellm_params": {"model": f"openai/{name}", "api_base": upstream.base_url, "api_key": key},
    }


def _sections(upstreams: Sequence[Upstream]) -> Mapping[str, str]:
    """[models.NAME] can be asked for by that name too."""
    return {
        short: upstream.name
        for upstream in upstreams
        if "." in upstream.section and (short := upstream.section.split(".", 1)[1]) != upstream.name
    }


def _aliases(gateway: GatewaySection, names: Sequence[str]) -> Mapping[str, str]:
    for alias, model in gateway.names.items():
        if model not in names:
            raise ConfigError(f'gateway.aliases: "{alias}" names the model "{model}", and there is {_listed(names)}')
        if alias in names:
            raise ConfigError(f'gateway.aliases: "{alias}" is the name of a model already')
    return gateway.names


def _fallbacks(gateway: GatewaySection, upstreams: Sequence[Upstream]) -> Mapping[str, object]:
    if gateway.fallback is None:
        return {}
    named = next((one for one in upstreams if gateway.fallback in (one.name, one.section.removeprefix("models."))), None)
    others = [one.section.removeprefix("models.") for one in upstreams[1:]]
    if named is None or named is upstreams[0]:
        raise ConfigError(
            f'gateway.fallback: expected another model than the default one, got "{gateway.fallback}"; there is {_listed(others)}',
            hint="[models.NAME] in freehold.toml describes one more",
        )
    return {"fallbacks": [{"*" if upstreams[0].name == "auto" else upstreams[0].name: [named.name]}]}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names) or "none"
