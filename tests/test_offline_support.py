"""The offline check must fail when something tries to leave; otherwise a green run would prove nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netns import Offline, offline

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")


@pytest.fixture
def network() -> Iterator[Offline]:
    with offline() as network:
        yield network


def python(network: Offline, code: str) -> str:
    return network.run(sys.executable, "-c", code).stdout.strip()


LOOPBACK = """
import socket, threading
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET, "localhost")):
    server = socket.create_server((address, 0), family=family)
    with socket.create_connection((address, server.getsockname()[1])) as client:
        client.sendall(b"hi")
        print(server.accept()[0].recv(2).decode())
"""


def test_loopback_works_and_counts_as_nothing(network: Offline) -> None:
    assert python(network, LOOPBACK).split() == ["hi", "hi", "hi"]
    assert network.attempts() == []


@pytest.mark.parametrize(
    ("code", "attempt"),
    [
        ("socket.getaddrinfo('telemetry.example.com', 443)", "lookup of telemetry.example.com"),
        ("socket.create_connection(('192.0.2.1', 443), 2)", "without an IPv4 route"),
        ("socket.create_connection(('2001:db8::1', 443), 2)", "without an IPv6 route"),
        ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))", "without an IPv4 route"),
        ("socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'x', ('2001:db8::1', 53))", "without an IPv6 route"),
        ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 53))", "without an IPv4 route"),
    ],
)
def test_an_attempt_to_leave_is_seen_even_when_the_program_does_not_mind(network: Offline, code: str, attempt: str) -> None:
    out = python(network, f"import socket\ntry:\n    {code}\nexcept OSError:\n    print('failed, and swallowed')")
    assert out == "failed, and swallowed"
    assert [found for found in network.attempts() if found.endswith(attempt)]


def test_an_attempt_of_a_process_left_behind_is_seen(network: Offline) -> None:
    code = "import socket, time; time.sleep(0.3)\ntry: socket.create_connection(('192.0.2.1', 1))\nexcept OSError: pass"
    network.run("sh", "-c", f'{sys.executable} -c "{code}" >/dev/null 2>&1 &')
    deadline = time.monotonic() + 20
    while not network.attempts():
        assert time.monotonic() < deadline, "the attempt was not seen"
        time.sleep(0.1)


def test_the_host_keeps_its_own_resolver(network: Offline) -> None:
    assert "127.0.0.1" in network.run("cat", "/etc/resolv.conf").stdout
    with open("/etc/resolv.conf") as own:
        assert "attempts:1" not in own.read()


def test_a_failing_command_raises(network: Offline) -> None:
    with pytest.raises(Exception, match="returned non-zero exit status 3"):
        network.run("sh", "-c", "exit 3")


def test_a_command_runs_in_the_folder_asked_for(network: Offline, tmp_path: Path) -> None:
    assert network.run("pwd", cwd=tmp_path).stdout.strip() == str(tmp_path)
    assert network.run("pwd").stdout.strip() == str(Path.cwd())
