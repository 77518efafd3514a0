"""Ports are tried before anything starts, and a taken one is explained."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from freehold.core.errors import ConfigError, Conflict
from freehold.stack.service import Port
from freehold.targets.native import ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def test_a_free_port_is_fine() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = int(probe.getsockname()[1])
    ports.check([Port(number, "127.0.0.1", "server.port", "--port")])


def test_a_taken_port_names_its_holder_and_what_changes_it(taken: int) -> None:
    with pytest.raises(Conflict) as error:
        ports.check([Port(taken, "127.0.0.1", "server.port", "--port")])
    assert f"port {taken} on 127.0.0.1 is taken by" in error.value.message
    assert f"(pid {os.getpid()})" in error.value.message
    assert error.value.hint is not None
    assert f"`--port {taken + 1}`" in error.value.hint
    assert f"server.port = {taken + 1} in freehold.toml" in error.value.hint


def test_a_port_without_an_option_names_only_its_setting(taken: int) -> None:
    with pytest.raises(Conflict) as error:
        ports.check([Port(taken, "127.0.0.1", "model.port")])
    assert error.value.hint == f"end that program, or choose another port: model.port = {taken + 1} in freehold.toml"


def test_an_address_of_another_machine_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match=r"server\.host: cannot listen on 192\.0\.2\.1:8123"):
        ports.check([Port(8123, "192.0.2.1", "server.port")])


def test_nobody_holds_a_free_port(taken: int) -> None:
    assert ports.holder(taken) is not None
    assert ports.holder(1) is None
