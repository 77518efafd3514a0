"""A network without a way out, which notices every attempt to leave. Linux only; as root, or with user namespaces.

    with offline() as network:
        network.run("freehold", "ask", "hello")
        assert network.attempts() == []

Commands run in a network namespace that has a loopback and no route. Two things are watched: names asked of the only
resolver there is (ours), and route lookups that found nothing, which the kernel counts for each connect or send to an
address outside, IPv4 and IPv6. So an attempt is seen whether or not the program minds.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


@dataclass(frozen=True)
class Offline:
    """A namespace kept open by the process `pid`; commands join it."""

    pid: int
    _holder: subprocess.Popen[str]

    def run(self, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command inside, its output captured as text. Processes it leaves behind stay inside."""
        enter = self._enter(Path(options.pop("cwd", Path.cwd())))
        return subprocess.run([*enter, *command], check=check, capture_output=True, text=True, **options)

    def attempts(self) -> list[str]:
        """What tried to leave so far, e.g. `["lookup of huggingface.co", "2 without an IPv4 route"]`; empty: nothing did."""
        assert self._holder.stdin and self._holder.stdout
        self._holder.stdin.write("report\n")
        self._holder.stdin.flush()
        return list(json.loads(self._holder.stdout.readline()))

    def _enter(self, folder: Path) -> list[str]:
        user = [] if os.getuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self.pid), *user, "--net", "--mount", f"--wd={folder}"]


@contextmanager
def offline() -> Iterator[Offline]:
    """Open a namespace without a route; it goes when the block ends, what still runs inside it keeps it until then."""
    user = [] if os.getuid() == 0 else ["--map-root-user"]
    command = ["unshare", *user, "--net", "--mount", sys.executable, str(Path(__file__))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout
            ready = holder.stdout.readline()
            if not ready.startswith("ready"):
                raise RuntimeError("no network namespace: run as root, or allow unprivileged user namespaces")
            yield Offline(int(ready.split()[1]), holder)
        finally:
            holder.terminate()


def _hold() -> None:
    """Inside: loopback up, our resolver the only one, then answer `report` until stdin closes."""
    _raise_loopback()
    names: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        _use_resolver(Path(folder))
        _start_resolver(names)
        before = _unrouted()
        sys.stdout.write(f"ready {os.getpid()}\n")
        sys.stdout.flush()
        for _ in sys.stdin:
            now = _unrouted()
            found = [f"lookup of {name}" for name in names]
            found += [f"{now[key] - before[key]} without an {key} route" for key in now if now[key] > before[key]]
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()


def _raise_loopback() -> None:
    from fcntl import ioctl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", ioctl(control, _SIOCGIFFLAGS, request))[1]
        ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _use_resolver(folder: Path) -> None:
    """In this mount namespace only: names come from /etc/hosts or from 127.0.0.1."""
    for target, text in {
        "/etc/resolv.conf": "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n",
        "/etc/nsswitch.conf": "hosts: files dns\n",
    }.items():
        if os.path.exists(target):
            source = folder / Path(target).name
            source.write_text(text)
            subprocess.run(["mount", "--bind", str(source), os.path.realpath(target)], check=True)


def _start_resolver(names: list[str]) -> None:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 53))

    def answer() -> None:
        while True:
            query, peer = udp.recvfrom(4096)
            name = _question(query)
            if name not in names:
                names.append(name)
            # The same id and question, flags "response, no such name".
            udp.sendto(query[:2] + b"\x81\x83" + query[4:6] + bytes(6) + query[12:], peer)

    threading.Thread(target=answer, daemon=True).start()


def _question(query: bytes) -> str:
    labels, at = [], 12
    while at < len(query) and (length := query[at]):
        labels.append(query[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    return ".".join(labels)


def _unrouted() -> dict[str, int]:
    """Route lookups of this namespace that failed, since it exists."""
    lines = [line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines() if line.startswith("Ip:")]
    ipv4 = dict(zip(lines[0], lines[1], strict=True))
    ipv6 = dict(line.split() for line in Path("/proc/self/net/snmp6").read_text().splitlines())
    return {"IPv4": int(ipv4["OutNoRoutes"]), "IPv6": int(ipv6["Ip6OutNoRoutes"])}


if __name__ == "__main__":
    _hold()
