"""What freehold.toml and langgraph.json together say about webhooks. Where both speak, the project's own word is the narrower one."""

from __future__ import annotations

from collections.abc import Mapping

from freehold.config.settings import WebhooksSection
from freehold.graphs.project import Project
from freehold.graphs.project_config import WebhookUrlPolicy
from freehold.outbound.address import Allowed
from freehold.outbound.policy import UrlPolicy


def url_policy(settings: WebhooksSection, project: Project | None) -> UrlPolicy:
    """Which URLs runs may report to.

    As on LangGraph's own servers https is needed and a path is refused, unless the project says otherwise in so many words.
    """
    allowed = Allowed.parse(settings.allow_private)
    rules = project.webhooks.url if project and project.webhooks else WebhookUrlPolicy()
    said = rules.model_fields_set
    return UrlPolicy(
        enabled=not (project and project.http.disable_webhooks),
        require_https=rules.require_https if "require_https" in said else settings.require_https,
        domains=rules.allowed_domains,
        ports=rules.allowed_ports,
        longest=rules.max_url_length or UrlPolicy.longest,
        paths="disable_loopback" in said and not rules.disable_loopback,
        allowed=allowed,
        http_allowed=Allowed() if rules.require_https else allowed,
    )


def headers(project: Project | None, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Headers of the project's own for every delivery, with its variables filled in. Raises ConfigError where one is not set."""
    return project.webhooks.filled_headers(environ) if project and project.webhooks else {}
