"""Pages about what the native stack does not have: GPUs, and an nginx that shows its status.

nginx and its exporter are real. GPUs are not: `dcgm.prom` is what NVIDIA's manual of dcgm-exporter shows of an A100 at work, with the
labels and descriptions of its version 4.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.integration.instruments.aside import measuring, program, running, to
from tests.integration.instruments.busy import free_ports, queries
from tests.support.prometheus import Prometheus

from freehold.config import paths
from freehold.core.progress import Silent
from freehold.targets.native import debian

# The first one fetches what it needs from the distribution.
pytestmark = pytest.mark.timeout(900)

SECONDS = 120
HERE = Path(__file__).parent


@contextmanager
def dcgm() -> Iterator[int]:
    """Port where the recorded exposition is at /dcgm.prom."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(HERE))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class Quiet(SimpleHTTPRequestHandler):
    """Says nothing on stderr, and names the type that Prometheus asks for."""

    extensions_map = {".prom": "text/plain; version=0.0.4"}  # noqa: RUF012 - as the base class has it

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("aside")
    nginx_port, exporter_port = free_ports(2)
    with ExitStack() as stack:
        gpu_port = stack.enter_context(dcgm())
        stack.enter_context(running(*nginx(folder, nginx_port)))
        asked = (f"-web.listen-address=127.0.0.1:{exporter_port}", f"-nginx.scrape-uri=http://127.0.0.1:{nginx_port}/status")
        stack.enter_context(running(*program("nginx-exporter"), *asked, "-nginx.retries=50", "-nginx.retry-interval=200ms"))
        jobs = (
            f"{{job_name: gpu-exporter, metrics_path: /dcgm.prom, {to(gpu_port)}}}",
            f"{{job_name: nginx-exporter, {to(exporter_port)}}}",
        )
        yield stack.enter_context(measuring(folder, *jobs))


def nginx(folder: Path, port: int) -> tuple[str, ...]:
    """Debian's: the one of our package has no stub_status."""
    found = asyncio.run(debian.fetch("nginx", ("nginx",), "nginx", paths.cache(), Silent()))
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; events {{}} {'user root;' if os.getuid() == 0 else ''}\n"
        f"http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port}; location = /status {{ stub_status; }} }} }}\n"
    )
    return (*found, "-p", str(folder), "-c", str(folder / "nginx.conf"))


@pytest.mark.parametrize("needs", ["gpu", "edge"])
def test_every_query_has_series(prometheus: Prometheus, needs: str) -> None:
    assert prometheus.without_series(queries(needs), seconds=SECONDS) == []


def test_the_share_of_gpu_memory_is_recorded_and_gpus_can_be_chosen(prometheus: Prometheus) -> None:
    assert prometheus.without_series(["freehold:gpu_memory_usage", 'DCGM_FI_DEV_FB_USED{gpu!=""}'], seconds=SECONDS) == []
    (series,) = prometheus.series("freehold:gpu_memory_usage")
    assert float(series["value"][1]) == pytest.approx(4845 / (4845 + 35690))
