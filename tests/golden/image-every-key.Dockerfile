# Written by `freehold build`. Pin the base: --build-arg BASE=<image>@sha256:<digest>
ARG BASE=docker.io/library/python:3.13-slim-bookworm
FROM ${BASE} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

# dockerfile_lines of langgraph.json
RUN apt-get update && apt-get install --yes libmagic1
ENV COLOUR=red

FROM base AS builder
ARG PIP_INDEX_URL
WORKDIR /build
RUN python -m venv /opt/agents
COPY pip.conf /etc/pip.conf
# What changes seldom comes first: this layer is made again only for another lock. extra-ca.crt is there behind some proxies.
COPY requirements.lock extra-ca.crt* ./
RUN if [ -f extra-ca.crt ]; then export PIP_CERT=/build/extra-ca.crt; fi; /opt/agents/bin/pip install --require-hashes -r requirements.lock
COPY requirements-wheels.lock ./
COPY wheels ./wheels
RUN /opt/agents/bin/pip install --require-hashes --no-deps --no-index -r requirements-wheels.lock
RUN /opt/agents/bin/pip uninstall --yes setuptools wheel

FROM base
RUN python -m pip uninstall --yes --root-user-action=ignore setuptools wheel
RUN echo 'freehold:x:10001:10001::/home/freehold:/sbin/nologin' >> /etc/passwd && echo 'freehold:x:10001:' >> /etc/group \
    && mkdir -p /home/freehold && chown 10001:10001 /home/freehold
COPY --from=builder /opt/agents /opt/agents
ENV PATH=/opt/agents/bin:$PATH FREEHOLD_AGENTS=/opt/agents/lib/python3.13/site-packages/translator_agents/langgraph.json
USER 10001:10001
WORKDIR /home/freehold
EXPOSE 8123
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8123/ok', timeout=3)"]
ENTRYPOINT ["freehold"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8123"]
