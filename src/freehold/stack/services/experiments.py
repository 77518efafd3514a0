"""MLflow, which keeps experiments and models: its tables in a database of its own, their files in SeaweedFS, which speaks S3.

Clients speak to MLflow alone: it passes files on, so nobody else needs the keys of the store.
"""

from __future__ import annotations

from collections.abc import Iterable

from freehold.stack.deployment import Deployment
from freehold.stack.edge.site import origins_of
from freehold.stack.environment import service_database_url
from freehold.stack.service import Health, Limits, Metrics, Port, Secret, Service, Volume

BUCKET = "mlflow"
#: Who asks the store; its only account.
ACCESS_KEY = "freehold"
#: A volume of SeaweedFS, in MiB: it allots its space in pieces of this size.
VOLUME_MIB = 256
#: SeaweedFS adds this to a port for the one of its own protocol.
_GRPC = 10_000

_LOOPBACK = "127.0.0.1"
_SECRETS = (
    Secret("files_key", "generated", "key of the store for files (S3)"),
    Secret("files_signing", "generated", "what the parts of the store for files sign their requests to one another with"),
    Secret("files_reading", "generated", "the same, for reading"),
)


def services(deployment: Deployment, others: tuple[Service, ...]) -> Iterable[Service]:
    yield _store(deployment)
    yield Service(
        name="bucket",
        program="python",
        kind="task",
        args=("-m", "freehold.operate.bucket", "http://${address:seaweedfs}", BUCKET, ACCESS_KEY, "${secret_file:files_key}"),
        needs=("seaweedfs",),
        restarts=False,
        networks=("data",),
        about="place for the files of experiments",
    )
    yield _mlflow(deployment)


def _store(deployment: Deployment) -> Service:
    settings = deployment.settings.experiments
    # Master, volume and filer listen on loopback even in a container: only S3 asks for a key.
    s3, master, volume, filer, metrics = range(settings.files_port, settings.files_port + 5)
    inside = {"master": master, "volume": volume, "filer": filer}
    options = {
        "dir": "${data:seaweedfs}",
        "ip": _LOOPBACK,
        "ip.bind": _LOOPBACK,
        **{f"{part}.port": str(port) for part, port in inside.items()},
        "master.volumeSizeLimitMB": str(VOLUME_MIB),
        "master.telemetry": "false",
        "volume.max": str(settings.storage_gb * 1024 // VOLUME_MIB),
        "volume.preStopSeconds": "1",
        "filer": "true",
        "s3": "true",
        "s3.port": str(s3),
        "s3.ip.bind": "${listen}",
        "disableHttp": "true",  # of master and filer: whoever reaches them may delete; parts of it speak gRPC to one another
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "s3.allowDeleteBucketNotEmpty": "false",
        "metricsPort": str(metrics),
        "metricsIp": "${listen}",
    }
    return Service(
        name="seaweedfs",
        program="weed",
        args=("-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())),
        env={
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": "${secret:files_key}",
            "WEED_JWT_SIGNING_KEY": "${secret:files_signing}",
            "WEED_JWT_SIGNING_READ_KEY": "${secret:files_reading}",
            "WEED_JWT_FILER_SIGNING_KEY": "${secret:files_signing}",
            "WEED_JWT_FILER_SIGNING_READ_KEY": "${secret:files_reading}",
        },
        ports=(
            Port(s3, _LOOPBACK, "experiments.files_port", name="s3"),
            Port(metrics, _LOOPBACK, "experiments.files_port", name="metrics"),
            *(Port(port, _LOOPBACK, "experiments.files_port", name=part) for part, port in inside.items()),
            *(Port(port + _GRPC, _LOOPBACK, "experiments.files_port", name=f"{part}-grpc") for part, port in (*inside.items(), ("s3", s3))),
        ),
        volumes=(Volume("seaweedfs", "files of experiments and models"),),
        secrets=_SECRETS,
        health=Health("http", "http://${address:seaweedfs}/healthz", start_seconds=60),
        grace_seconds=30,  # an orderly end takes 17 s
        metrics=Metrics(port="metrics"),
        networks=("data", "observe"),
        limits=Limits(1024**3),
        about="SeaweedFS",
    )


def _mlflow(deployment: Deployment) -> Service:
    settings = deployment.settings.experiments
    port = str(settings.port)
    args = ("--host", "${listen}", "--port", port, "--workers", "1", "--serve-artifacts", "--artifacts-destination", f"s3://{BUCKET}/")
    return Service(
        name="mlflow",
        program="mlflow",
        args=("server", *args, "--allowed-hosts", ",".join(_hosts(deployment)), *_origins(deployment)),
        env={
            "MLFLOW_BACKEND_STORE_URI": service_database_url("mlflow").replace("postgresql:", "postgresql+psycopg2:"),
            "MLFLOW_S3_ENDPOINT_URL": "http://${address:seaweedfs}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": "${secret:files_key}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 1.8 GB of processes that wait for work nobody gives them
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
        },
        ports=(Port(settings.port, _LOOPBACK, "experiments.port"),),
        health=Health("http", "http://${address:mlflow}/health", start_seconds=180),
        needs=("postgres", "migrate", "seaweedfs", "bucket"),
        grace_seconds=15,
        networks=("apps", "data"),
        limits=Limits(2 * 1024**3),
        database="mlflow",
        about="MLflow",
    )


def _hosts(deployment: Deployment) -> Iterable[str]:
    """Names it may be called by; another one is a page of another site that points its name here."""
    port = deployment.settings.experiments.port
    own = ("127.0.0.1", "localhost") if deployment.settings.stack.target == "native" else ("127.0.0.1", "localhost", "mlflow")
    shown = [origin.partition("://")[2] for origin in origins_of(deployment.settings, "mlflow")]
    return [*own, *(f"{host}:{port}" for host in own), *shown]


def _origins(deployment: Deployment) -> Iterable[str]:
    """Pages that may change something, beside those on this machine: its own, as the edge shows them."""
    shown = origins_of(deployment.settings, "mlflow")
    return ("--cors-allowed-origins", ",".join(shown)) if shown else ()
