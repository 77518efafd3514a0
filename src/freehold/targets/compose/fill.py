"""What placeholders of a stack are in containers: names of services, fixed folders, and secrets that the entrypoint fills at the start."""

from __future__ import annotations

import re
from dataclasses import dataclass

from freehold.stack.plan import Stack
from freehold.stack.service import Service
from freehold.targets.compose.images import CACHE, DATA, ETC, RUN, Image, image

_PLACEHOLDER = re.compile(r"\$\{([a-z_]+)(?::([a-z0-9_-]+)(?:\.([a-z_-]+))?)?\}")
#: As the entrypoint reads it.
_TO_FILL = re.compile(r"\{\{secret:([a-z0-9_]+)\}\}")
#: A database behind a socket, as URLs name one; here services have addresses, and not every driver knows that form.
_BY_SOCKET = re.compile(r"@/([A-Za-z0-9_]+)\?host=\$\{host:([a-z0-9-]+)\}(?:&port=\d+)?(&)?")
_SECRET = re.compile(r"\$\{secret(?:_file)?:([a-z0-9_]+)\}")

SETTINGS = f"{ETC}/freehold.toml"
#: State of our own programs; nothing in it outlives the container but what they measured.
HOME = "/var/lib/freehold"


class Missing(Exception):
    """A placeholder that nothing fills."""


@dataclass(frozen=True)
class Filler:
    """Fills the texts of one service."""

    stack: Stack
    service: Service
    #: Model file or folder below `CACHE`, or a file of the user's own; None: it serves no model.
    model: str | None

    def fill(self, text: str) -> str:
        """Raises:
        Missing: nothing fills one of its placeholders.
        """
        text = _BY_SOCKET.sub(lambda match: f"@${{address:{match[2]}}}/{match[1]}{'?' if match[3] else ''}", text)
        filled = _PLACEHOLDER.sub(lambda match: self._value(match[1], match[2], match[3]), text)
        for file in self.service.files:
            if has_secret(file.text):
                filled = filled.replace(f"{self.files}/{file.name}", f"{RUN}/{file.name}")
        return filled

    def asked(self, text: str) -> str:
        """A health target, as the container itself reaches it."""
        own = re.compile(rf"\$\{{(host|address):{re.escape(self.service.name)}(\.[a-z_-]+)?\}}")
        inside = {"host": "127.0.0.1"}
        return self.fill(own.sub(lambda m: inside.get(m[1]) or f"127.0.0.1:${{port:{self.service.name}{m[2] or ''}}}", text))

    @property
    def files(self) -> str:
        return f"{ETC}/{self.service.name}"

    def _value(self, kind: str, name: str | None, port: str | None) -> str:
        if name:
            return self._of(kind, name, port)
        value = {
            "home": HOME,
            "config": SETTINGS,
            "project": "/home/freehold",
            "model": self.model,
            "files": self.files,
            "ready": f"{RUN}/ready",
            "listen": "0.0.0.0",  # noqa: S104 - inside a container; only its networks reach it
        }.get(kind)
        if value is None:
            raise Missing(kind)
        return value

    def _of(self, kind: str, name: str, port: str | None) -> str:
        if kind == "secret":
            return f"{{{{secret:{name}}}}}"
        if kind == "secret_file":
            return f"/run/secrets/{name}"
        if kind == "data":
            return folder(self.stack, name)
        service = self.stack.service(name)
        if service is None:
            raise Missing(name)
        if kind == "sockets":
            return image(service.program).sockets
        if kind == "host":
            return name
        number = service.port(port).number
        return str(number) if kind == "port" else f"{name}:{number}"


def mount(stack: Stack, volume: str) -> str:
    """Where a volume lies, in every container that has it."""
    return CACHE if volume == "models" else next((place.mount for place in _images(stack, volume) if place.mount), f"{DATA}/{volume}")


def folder(stack: Stack, volume: str) -> str:
    """What the programs are told: the same, or a folder below it."""
    below = next((place.below for place in _images(stack, volume)), "")
    return f"{mount(stack, volume)}/{below}".rstrip("/")


def _images(stack: Stack, volume: str) -> list[Image]:
    return [image(service.program) for service in stack.services if any(volume == has.name for has in service.volumes)]


def has_secret(text: str) -> bool:
    """Whether a text names the value of a secret, before or after it was filled."""
    return "${secret:" in text or bool(_TO_FILL.search(text))


def secrets_of(service: Service, image: Image) -> tuple[str, ...]:
    """Names of the secrets that a service has to have."""
    texts = [*service.args, *service.env.values(), *image.env.values(), *(file.text for file in service.files)]
    return tuple(sorted({name for text in texts for name in _SECRET.findall(text)}))
