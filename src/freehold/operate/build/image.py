"""The image definition of a project: a Dockerfile and what it is built from, as text. Pure; compared with a checked-in file.

Two stages: what is needed is installed from the lock into an environment, which is all the last stage takes over. The base is
an argument, so that it can be pinned to a digest: `docker build --build-arg BASE=python:3.12-slim@sha256:…`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from freehold.core.errors import NotSupported
from freehold.graphs.project_config import BuildConfig

#: Nobody of the host has this number.
USER = 10001
PORT = 8123

_DISTROS = {None: "slim-trixie", "debian": "slim-trixie", "bookworm": "slim-bookworm"}
_AUTHORITIES = "/opt/agents/authorities.pem"
_TOOLS = ("pip", "setuptools", "wheel")


@dataclass(frozen=True)
class Definition:
    """What decides how the image is made."""

    base: str
    python: str
    build: BuildConfig
    #: Below site-packages, e.g. `translator_agents/langgraph.json`; None: the shipped agent alone.
    agents_file: str | None
    wheels_only: bool
    #: Whether extra-ca.crt, the certificate of a proxy that re-signs TLS, is trusted by what runs in the image, too.
    extra_authority: bool = False


def base_image(build: BuildConfig, python: str) -> str:
    """The image to start from.

    Raises:
        NotSupported: one that cannot be: the Elastic-licensed server's, or a distribution without Debian's tools.
    """
    if build.base_image:
        if re.search(r"langgraph(js)?-(api|server)", build.base_image):
            raise NotSupported(
                f'"base_image": {build.base_image} is another server\'s image',
                hint="remove it, or name a Python image such as python:3.12-slim",
            )
        return build.base_image
    if build.image_distro not in _DISTROS:
        raise NotSupported(f'"image_distro": "{build.image_distro}" is not supported', hint='use "debian" or "bookworm", or set base_image')
    return f"docker.io/library/python:{python}-{_DISTROS[build.image_distro]}"


def files(definition: Definition) -> dict[str, str]:
    """Name -> text."""
    return {"Dockerfile": dockerfile(definition), ".dockerignore": DOCKERIGNORE}


#: The context is written for this one purpose; nothing else that comes to lie in it goes to the daemon.
DOCKERIGNORE = """\
*
!wheels/*.whl
!requirements.lock
!requirements-wheels.lock
!pip.conf
!extra-ca.crt
"""


def dockerfile(definition: Definition) -> str:
    """The Dockerfile."""
    agents = f"/opt/agents/lib/python{definition.python}/site-packages/{definition.agents_file}" if definition.agents_file else None
    return "\n".join([*_head(definition), *_builder(definition), *_last(definition, agents)]) + "\n"


def _head(definition: Definition) -> list[str]:
    lines = definition.build.dockerfile_lines
    return [
        "# Written by `freehold build`. Pin the base: --build-arg BASE=<image>@sha256:<digest>",
        f"ARG BASE={definition.base}",
        "FROM ${BASE} AS base",
        "ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1",
        *(["", "# dockerfile_lines of langgraph.json", *lines] if lines else []),
        "",
    ]


def _builder(definition: Definition) -> list[str]:
    with_config = bool(definition.build.pip_config_file)
    only = " --only-binary=:all:" if definition.wheels_only else ""
    ca = "if [ -f extra-ca.crt ]; then export PIP_CERT=/build/extra-ca.crt; fi;"
    kept = _kept_tools(definition.build)
    removed = [tool for tool in _TOOLS if tool not in kept]
    return [
        "FROM base AS builder",
        "ARG PIP_INDEX_URL",
        "WORKDIR /build",
        "RUN python -m venv /opt/agents",
        *(["COPY pip.conf /etc/pip.conf"] if with_config else []),
        "# What changes seldom comes first: this layer is made again only for another lock. extra-ca.crt is there behind some proxies.",
        "COPY requirements.lock extra-ca.crt* ./",
        f"RUN {ca} /opt/agents/bin/pip install --require-hashes{only} -r requirements.lock",
        "COPY requirements-wheels.lock ./",
        "COPY wheels ./wheels",
        "RUN /opt/agents/bin/pip install --require-hashes --no-deps --no-index -r requirements-wheels.lock",
        *([f"RUN /opt/agents/bin/pip uninstall --yes {' '.join(removed)}"] if removed else []),
        *([f'RUN cat "$(/opt/agents/bin/python -m certifi)" extra-ca.crt > {_AUTHORITIES}'] if definition.extra_authority else []),
        "",
    ]


def _last(definition: Definition, agents: str | None) -> list[str]:
    removed = [tool for tool in _TOOLS if tool not in _kept_tools(definition.build)]
    probe = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{PORT}/ok', timeout=3)"
    return [
        "FROM base",
        *([f"RUN python -m pip uninstall --yes --root-user-action=ignore {' '.join(removed)}"] if removed else []),
        # Every base knows these, whatever it calls its programs for users.
        f"RUN echo 'freehold:x:{USER}:{USER}::/home/freehold:/sbin/nologin' >> /etc/passwd && echo 'freehold:x:{USER}:' >> /etc/group \\",
        f"    && mkdir -p /home/freehold && chown {USER}:{USER} /home/freehold",
        "COPY --from=builder /opt/agents /opt/agents",
        f"ENV PATH=/opt/agents/bin:$PATH{f' FREEHOLD_AGENTS={agents}' if agents else ''}",
        *([f"ENV SSL_CERT_FILE={_AUTHORITIES} REQUESTS_CA_BUNDLE={_AUTHORITIES}"] if definition.extra_authority else []),
        f"USER {USER}:{USER}",
        "WORKDIR /home/freehold",
        f"EXPOSE {PORT}",
        "STOPSIGNAL SIGTERM",
        f'HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", "{probe}"]',
        'ENTRYPOINT ["freehold"]',
        f'CMD ["serve", "--host", "0.0.0.0", "--port", "{PORT}"]',
    ]


def _kept_tools(build: BuildConfig) -> tuple[str, ...]:
    kept = build.keep_pkg_tools
    return _TOOLS if kept is True else () if kept is False else tuple(kept)
