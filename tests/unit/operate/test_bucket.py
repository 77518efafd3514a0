"""Making a bucket: the signature as AWS publishes it, and the real store."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.servers import with_parent
from tests.support.stack_folder import free_port

from freehold.config.paths import cache
from freehold.core.errors import Unhealthy
from freehold.core.progress import Silent
from freehold.operate import bucket
from freehold.targets.native import packages
from freehold.targets.versions import versions


def test_a_request_is_signed_as_the_specification_has_it() -> None:
    """Key, date and chain of keys of AWS's own example; the signature was computed by botocore for this very request."""
    headers = bucket.signed(
        "PUT", "http://127.0.0.1:8333/mlflow", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20261121T120000Z"
    )
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261121/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=d4d66dab813c8219f2de844ee6cd9fcd44e80729a8582f26747ae3ef642a8faa"
    )


@pytest.fixture(scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A real SeaweedFS with the key "right"."""
    folder = tmp_path_factory.mktemp("weed")
    (weed,) = await packages.ensure("weed", versions()["weed"], cache(), Silent())
    s3, master, volume, filer = (free_port() for _ in range(4))
    grpc = dict(zip(("master", "volume", "filer", "s3"), (free_port() for _ in range(4)), strict=True))
    ports = {"master": master, "volume": volume, "filer": filer, "s3": s3}
    options = ["-dir", str(folder), "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-filer", "-s3"]
    options += [f"-{part}.port={port}" for part, port in ports.items()] + [f"-{part}.port.grpc={port}" for part, port in grpc.items()]
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "freehold", "AWS_SECRET_ACCESS_KEY": "right"}
    with (folder / "log").open("wb") as log:
        command = [*with_parent("KILL"), weed, "-logtostderr=true", "server", *options, "-s3.port.iceberg=0", "-s3.port.lance=0"]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    yield f"http://127.0.0.1:{s3}"
    process.kill()
    process.wait()


async def test_a_bucket_is_made_once(store: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("right\n")
    assert bucket.main(store, "mlflow", "freehold", str(key)) == 0
    assert bucket.ensure(store, "mlflow", "freehold", "right") is False
    assert bucket.ensure(store, "another", "freehold", "right") is True


async def test_a_wrong_key_is_refused(store: str) -> None:
    with pytest.raises(Unhealthy, match="HTTP 403"):
        bucket.ensure(store, "secrets", "freehold", "wrong")
