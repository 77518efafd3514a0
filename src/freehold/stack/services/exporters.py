"""What turns the inner figures of other programs into metrics: one small exporter beside each. Only Prometheus asks them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from freehold.stack.deployment import Deployment
from freehold.stack.service import File, Health, Limits, Metrics, Network, Port, Secret, Service, Volume

_MIB = 1024**2
_MEMORY = Limits(128 * _MIB)

#: Volume with a file of metrics from each command that leaves some: `backup.prom`.
MEASURES = "measures"
MEASURES_VOLUME = Volume(MEASURES, "figures that commands leave for Prometheus, e.g. when the last backup was made")

#: Role of Postgres that may read its statistics and nothing else.
MONITOR_ROLE = "monitor"


def services(deployment: Deployment, others: Sequence[Service]) -> Iterable[Service]:
    """An exporter for the machine, for each store of the stack, for its edge and its GPUs."""
    yield _node(deployment)
    if any(service.program == "postgres" for service in others):
        yield _postgres(deployment)
    for index, store in enumerate(service for service in others if service.program == "valkey"):
        yield _valkey(deployment, store, index)
    # Natively nginx comes from a package index, built without the page it counts on.
    if deployment.has("edge") and deployment.settings.stack.target != "native":
        yield _edge(deployment)
    if _measures_gpus(deployment):
        yield _gpu(deployment)


def _node(deployment: Deployment) -> Service:
    port = deployment.settings.monitoring.ports.node
    return _exporter(
        "node-exporter",
        "node-exporter",
        port,
        "monitoring.ports.node",
        args=(
            f"--web.listen-address=${{listen}}:{port}",
            "--no-collector.systemd",
            f"--collector.textfile.directory=${{data:{MEASURES}}}",
        ),
        volumes=(MEASURES_VOLUME,),
        about="measures of the machine",
    )


def _postgres(deployment: Deployment) -> Service:
    port = deployment.settings.monitoring.ports.postgres
    # Version 0.11 of Debian 12 asks PostgreSQL 18 for columns of pg_stat_bgwriter that have moved.
    without = ("--no-collector.bgwriter",) if deployment.settings.stack.target == "native" else ()
    return _exporter(
        "postgres-exporter",
        "postgres-exporter",
        port,
        "monitoring.ports.postgres",
        args=(f"--web.listen-address=${{listen}}:{port}", *without),
        env={
            "DATA_SOURCE_URI": "/freehold?host=${host:postgres}&sslmode=disable",
            "DATA_SOURCE_USER": f"freehold_{MONITOR_ROLE}",
            "DATA_SOURCE_PASS_FILE": f"${{secret_file:postgres_{MONITOR_ROLE}}}",
        },
        secrets=(Secret(f"postgres_{MONITOR_ROLE}", "generated", f"password of the database role freehold_{MONITOR_ROLE}"),),
        needs=("migrate",),
        networks=("observe", "data"),
        about="measures of PostgreSQL",
    )


def _valkey(deployment: Deployment, store: Service, index: int) -> Service:
    native = deployment.settings.stack.target == "native"
    port = deployment.settings.monitoring.ports.valkey + index
    where = {"REDIS_ADDR": f"unix://${{sockets:{store.name}}}/{store.name}.sock"}
    if not native:
        where = {"REDIS_ADDR": f"redis://${{address:{store.name}}}", "REDIS_PASSWORD": "${secret:valkey}"}
    return _exporter(
        f"{store.name}-exporter",
        "valkey-exporter",
        port,
        "monitoring.ports.valkey",
        # Names of clients and the values of settings are nobody's business here.
        args=("-web.listen-address", f"${{listen}}:{port}", "-include-system-metrics"),
        env=where,
        needs=(store.name,),
        networks=("observe", "data"),
        about=f"measures of {store.about}",
    )


def _edge(deployment: Deployment) -> Service:
    port = deployment.settings.monitoring.ports.nginx
    return _exporter(
        "nginx-exporter",
        "nginx-exporter",
        port,
        "monitoring.ports.nginx",
        args=(f"-web.listen-address=${{listen}}:{port}", "-nginx.scrape-uri=http://${address:edge.status}/status"),
        needs=("edge",),
        about="measures of the edge",
    )


#: What panels and alerts ask for. Of its default list the profiling counters (DCGM_FI_PROF_*) need rights that it does not have, and one
#: that is refused makes the exporter give up.
_GPU_COUNTERS = (
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %)."),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "gauge", "Memory utilization (in %)."),
    ("DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB)."),
    ("DCGM_FI_DEV_FB_FREE", "gauge", "Framebuffer memory free (in MiB)."),
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz)."),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C)."),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (in W)."),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", "Total energy consumption since boot (in mJ)."),
    ("DCGM_FI_DEV_XID_ERRORS", "gauge", "Value of the last XID error encountered."),
)


def _measures_gpus(deployment: Deployment) -> bool:
    wanted = deployment.settings.monitoring.gpus
    native = deployment.settings.stack.target == "native"
    return bool(deployment.machine.gpus) and (wanted == "on" or (wanted == "auto" and not native))


def _gpu(deployment: Deployment) -> Service:
    port = deployment.settings.monitoring.ports.gpu
    return _exporter(
        "gpu-exporter",
        "dcgm-exporter",
        port,
        "monitoring.ports.gpu",
        args=("--address", f"${{listen}}:{port}", "--collectors", "${files}/counters.csv"),
        files=(File("counters.csv", "".join(f"{name}, {kind}, {about}\n" for name, kind, about in _GPU_COUNTERS)),),
        gpus=tuple(gpu.index for gpu in deployment.machine.gpus),
        limits=Limits(512 * _MIB),
        about="measures of the GPUs",
    )


def _exporter(
    name: str,
    program: str,
    port: int,
    setting: str,
    *,
    args: tuple[str, ...],
    about: str,
    env: dict[str, str] | None = None,
    secrets: tuple[Secret, ...] = (),
    needs: tuple[str, ...] = (),
    networks: tuple[Network, ...] = ("observe",),
    volumes: tuple[Volume, ...] = (),
    gpus: tuple[int, ...] | None = None,
    limits: Limits = _MEMORY,
    files: tuple[File, ...] = (),
) -> Service:
    return Service(
        name=name,
        program=program,
        args=args,
        env=env or {},
        ports=(Port(port, "127.0.0.1", setting),),
        health=Health("http", f"http://${{address:{name}}}/"),
        needs=needs,
        grace_seconds=5,
        metrics=Metrics(),
        networks=networks,
        secrets=secrets,
        volumes=volumes,
        limits=limits,
        gpus=gpus,
        files=files,
        about=about,
    )
