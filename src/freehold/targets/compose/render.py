"""From a stack to the files of a folder that `docker compose` runs. Pure, so golden files can hold it to what it was.

    compose.yaml        services, networks, volumes; no secret in it
    entrypoint.sh, .py  fill secrets at the start of a container
    freehold.toml       settings of our own programs, without secrets
    files/<service>/    what a service reads

Beside them `write.py` puts secrets/ and agent/, the image definition.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files

from freehold.core.machine import GIB
from freehold.stack.plan import Stack
from freehold.stack.service import Port, Service
from freehold.targets.compose.fill import SETTINGS, Filler, Missing, has_secret, mount, secrets_of
from freehold.targets.compose.health import healthcheck
from freehold.targets.compose.images import CACHE, ETC, RUN, Image, image
from freehold.targets.compose.yaml import Alias, Anchored, Commented, Value, document
from freehold.targets.versions import versions

#: Programs that run in the image of the project.
OURS = frozenset({"freehold", "python"})
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MIB = 1024**2

#: Name of the secret that holds the variables of the user's agents.
AGENT_ENV = "agent_env"
#: What services that people reach from outside are attached to: ports can be published there, and nothing is reached from there.
_FRONT = "front"
#: Within the network of a container, where nobody has rights, every port is for everybody.
_LOWEST_PORT = "net.ipv4.ip_unprivileged_port_start"
_OWNERS = "owners"


@dataclass(frozen=True)
class Project:
    """What of the machine and the project goes into a folder."""

    #: Image of our own programs, with the agents in it, e.g. `freehold-agent:0.1.0-4f1c2a`.
    image: str
    #: User and group as whom everything runs: the owner of the secrets.
    user: tuple[int, int] = (10001, 10001)
    #: Whether the folder holds the definition of that image.
    builds: bool = True
    #: Text of the freehold.toml in containers.
    settings: str = ""
    #: Model file or folder, by the service that reads it: below the models' volume, or of this machine.
    models: Mapping[str, str] = field(default_factory=dict)
    #: Files of this machine that are models, by the service that reads it.
    own_models: Mapping[str, str] = field(default_factory=dict)
    #: Whether the agents have variables of their own.
    has_variables: bool = False
    version: str = ""


def render(stack: Stack, project: Project) -> dict[str, str]:
    """Path in the folder -> text.

    Raises:
        NotSupported: a program has no image.
    """
    texts = {"freehold.toml": project.settings}
    for interpreter in sorted(_interpreters(stack, project)):
        texts[ENTRYPOINTS[interpreter]] = _own_text(interpreter)
    for service in stack.services:
        for file in service.files:
            texts[f"files/{service.name}/{file.name}"] = _filler(stack, project, service).fill(file.text)
    return {"compose.yaml": _Compose(stack, project, texts).text(), **texts}


#: The entrypoint for each interpreter, as it is called in the folder.
ENTRYPOINTS = {"sh": "entrypoint.sh", "python": "entrypoint.py"}


def _interpreters(stack: Stack, project: Project) -> set[str]:
    containers = [_Container(_Compose(stack, project, {}), service) for service in stack.services]
    return {container.image.interpreter or "" for container in containers if container.needs_entrypoint()}


def _own_text(interpreter: str) -> str:
    name = {"sh": "entrypoint.sh", "python": "entrypoint.py.txt"}[interpreter]
    return (files("freehold.targets.compose") / name).read_text(encoding="utf-8")


def secrets(stack: Stack, project: Project) -> tuple[str, ...]:
    """Names of all secrets that containers mount."""
    found = {name for service in stack.services for name in secrets_of(service, image(service.program))}
    return tuple(sorted(found | ({AGENT_ENV} if project.has_variables else set())))


def _filler(stack: Stack, project: Project, service: Service) -> Filler:
    return Filler(stack, service, project.models.get(service.name))


@dataclass(frozen=True)
class _Compose:
    """Makes the Compose file."""

    stack: Stack
    project: Project
    texts: Mapping[str, str]

    def text(self) -> str:
        services = self.stack.ordered()
        definitions: dict[str, Value] = {}
        if self._volumes():
            definitions[_OWNERS] = self._owners()
        definitions |= {service.name: _Container(self, service).definition() for service in services}
        notes = {_OWNERS: "gives new volumes to the user as whom all the others run"}
        notes |= {service.name: service.about for service in services if service.about}
        tree: dict[str, Value] = {
            "name": self.stack.name,
            "x-every": Anchored("every", self._every()),
            "x-agent": Anchored("agent", self._agent()),
            "services": Commented({name: _escaped(value) for name, value in definitions.items()}, notes),
            "networks": self._networks(),
        }
        if volumes := self._all_volumes():
            tree["volumes"] = volumes
        entrypoints = [name for name in ENTRYPOINTS.values() if name in self.texts]
        tree["configs"] = {name: {"file": f"./{name}"} for name in (*entrypoints, "freehold.toml")}
        if names := secrets(self.stack, self.project):
            tree["secrets"] = {name: {"file": f"./secrets/{name}"} for name in names}
        return document(tree, self._head())

    def _head(self) -> str:
        published = [
            f"  {service.name}: {port.host}:{port.number}" for service in self.stack.services for port in service.ports if port.published
        ]
        reached = "Reached from outside, and nothing else is:\n" + "\n".join(published) if published else "Nothing is reached from outside."
        uid, gid = self.project.user
        return (
            f"The stack {self.stack.name}, written by `freehold render compose` (Freehold {self.project.version}).\n"
            "Written anew by the next one: what is to stay goes into freehold.toml, or into a compose.override.yaml beside this file.\n"
            "\n"
            "  docker compose up --detach --wait\n"
            "\n"
            f"{reached}\n"
            f"Everything runs as user {uid}:{gid}, to whom the files in secrets/ belong.\n"
        )

    def _every(self) -> dict[str, Value]:
        uid, gid = self.project.user
        return {
            "user": f"{uid}:{gid}",
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
        }

    def _owners(self) -> dict[str, Value]:
        """Volumes begin as root's, and nobody else could write to them."""
        uid, gid = self.project.user
        volumes = self._volumes()
        return {
            **self.start_of("freehold"),
            # Here alone: several services that build one image would do it side by side.
            **({"build": {"context": "./agent", "args": ["PIP_INDEX_URL"]}} if self.project.builds else {}),
            "user": "0:0",
            "cap_add": ["CHOWN"],
            "read_only": True,
            "network_mode": "none",
            "healthcheck": {"disable": True},
            "entrypoint": ["chown", f"{uid}:{gid}"],
            "command": [f"/volumes/{name}" for name in volumes],
            "volumes": [_mount(name, f"/volumes/{name}") for name in volumes],
            "restart": "no",
            "mem_limit": "64m",
            "pids_limit": 16,
        }

    def _agent(self) -> dict[str, Value]:
        return {"image": self.project.image, **({"pull_policy": "never"} if self.project.builds else {})}

    def start_of(self, program: str) -> dict[str, Value]:
        """What all have in common, and the image."""
        if program in OURS:
            return {"<<": [Alias("every"), Alias("agent")]}
        reference = versions()[program].reference
        assert reference, f"{program} has no image in versions.toml"
        return {"<<": Alias("every"), "image": reference}

    def _volumes(self) -> tuple[str, ...]:
        return tuple(sorted({volume.name for service in self.stack.services for volume in service.volumes}))

    def _all_volumes(self) -> dict[str, Value]:
        about = {volume.name: volume.about for service in self.stack.services for volume in service.volumes}
        volumes: dict[str, Value] = {name: {} for name in self._volumes()}
        return Commented(volumes, about) if volumes else {}

    def _networks(self) -> dict[str, Value]:
        used = {network for service in self.stack.services for network in networks(service)}
        kinds: dict[str, tuple[dict[str, Value], str]] = {
            "apps": ({"internal": True}, "what people use, behind the edge"),
            "data": ({"internal": True}, "stores"),
            "models": ({"internal": True}, "model servers"),
            "observe": ({"internal": True}, "what is measured, and what measures it"),
            _FRONT: (
                {"driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"}},
                "where ports are published; no way to the internet",
            ),
            "out": ({}, "the way to the internet"),
        }
        chosen = {name: kind for name, kind in kinds.items() if name in used}
        return Commented({name: value for name, (value, _) in chosen.items()}, {name: about for name, (_, about) in chosen.items()})


def networks(service: Service) -> tuple[str, ...]:
    """Ports are only published on a network that is not internal."""
    published = any(port.published for port in service.ports)
    return (*service.networks, *((_FRONT,) if published and "out" not in service.networks else ()))


@dataclass(frozen=True)
class _Container:
    """One service of the file."""

    compose: _Compose
    service: Service

    @property
    def image(self) -> Image:
        return image(self.service.program)

    @property
    def filler(self) -> Filler:
        return _filler(self.compose.stack, self.compose.project, self.service)

    def definition(self) -> dict[str, Value]:
        service, facts = self.service, self.image
        env = self._environment()
        parts: Iterable[Mapping[str, Value]] = (
            self.compose.start_of(service.program),
            {"user": f"{facts.user[0]}:{facts.user[1]}"} if facts.user else {},
            self._command(),
            {"environment": env} if env else {},
            self._secrets_and_configs(env),
            self._storage(),
            {"ports": ports} if (ports := self._ports()) else {},
            {"sysctls": {_LOWEST_PORT: 0}} if any(port.number < 1024 for port in service.ports) else {},
            {"networks": list(attached)} if (attached := networks(service)) else {"network_mode": "none"},
            {"depends_on": needs} if (needs := self._needs()) else {},
            {"healthcheck": check} if (check := self._health() or self._no_health()) else {},
            self._life(),
            self._limits(),
            {"labels": {"freehold.files": digest}} if (digest := self._files_digest()) else {},
        )
        return {name: value for part in parts for name, value in part.items()}

    def _environment(self) -> dict[str, Value]:
        """A variable whose placeholder nothing fills is left out."""
        told: dict[str, Value] = {}
        for name, text in sorted({**self.image.env, **self.service.env}.items()):
            try:
                told[name] = self.filler.fill(text)
            except Missing:
                continue
        if self.service.environment == "user":
            told = dict(sorted({**told, "FREEHOLD_CACHE": CACHE}.items()))
        to_fill = [name for name, text in told.items() if has_secret(str(text))]
        assert all(_VARIABLE.fullmatch(name) for name in to_fill), f"names of variables: {to_fill}"
        if to_fill:
            told["FREEHOLD_FILL_ENV"] = " ".join(to_fill)
        if filled := [f"{self.filler.files}/{file.name}" for file in self.service.files if has_secret(file.text)]:
            told["FREEHOLD_FILL_FILES"] = " ".join(filled)
        return told

    def _command(self) -> dict[str, Value]:
        args = [self.filler.fill(text) for text in self.service.args]
        assert not any(has_secret(text) for text in args), f"{self.service.name}: a secret in its arguments"
        before = self._entrypoint() if self.needs_entrypoint() else []
        args = [*self.image.options, *args]
        return {"entrypoint": [*before, *self.image.program], **({"command": args} if args else {})}

    def _entrypoint(self) -> list[Value]:
        interpreter = self.image.interpreter
        assert interpreter, f"{self.service.program}: nothing in its image can fill secrets"
        return ["/bin/sh" if interpreter == "sh" else self.image.program[0], f"{ETC}/{ENTRYPOINTS[interpreter]}"]

    def needs_entrypoint(self) -> bool:
        env = self._environment()
        return "FREEHOLD_FILL_ENV" in env or "FREEHOLD_FILL_FILES" in env or AGENT_ENV in self._secret_names()

    def _secret_names(self) -> tuple[str, ...]:
        own = self.compose.project.has_variables and self.service.runs_agents
        return (*((AGENT_ENV,) if own else ()), *secrets_of(self.service, self.image))

    def _secrets_and_configs(self, env: Mapping[str, Value]) -> dict[str, Value]:
        names = self._secret_names()
        configs: list[Value] = []
        if self.needs_entrypoint():
            name = ENTRYPOINTS[self.image.interpreter or "sh"]
            configs.append({"source": name, "target": f"{ETC}/{name}"})
        if env.get("FREEHOLD_CONFIG") == SETTINGS:
            configs.append({"source": "freehold.toml", "target": SETTINGS})
        return {**({"secrets": list(names)} if names else {}), **({"configs": configs} if configs else {})}

    def _storage(self) -> dict[str, Value]:
        service, facts = self.service, self.image
        mounts: list[Value] = []
        for volume in service.volumes:
            mounts.append(_mount(volume.name, mount(self.compose.stack, volume.name)))
        if service.files:
            mounts.append(f"./files/{service.name}:{self.filler.files}:ro")
        mounts += [f"{outside}:{inside}:ro,rslave" for outside, inside in facts.host_folders.items()]
        mounts += self._models()
        # An image that declares a volume would be given one without a name, which nobody ever deletes.
        unused = (facts.mount,) if facts.mount and not service.volumes and service.program not in OURS else ()
        user = facts.user or self.compose.project.user
        temporary = [_temporary(path, user) for path in dict.fromkeys((*facts.tmpfs, *unused, RUN))]
        return {
            **({"volumes": mounts} if mounts else {}),
            **({"read_only": True} if facts.read_only else {}),
            "tmpfs": temporary,
        }

    def _models(self) -> Iterator[Value]:
        """What reads models waits until they were fetched."""
        if "fetch" in self.service.needs:
            yield f"models:{CACHE}:ro,nocopy"
        if own := self.compose.project.own_models.get(self.service.name):
            yield {"type": "bind", "source": own, "target": self.compose.project.models[self.service.name], "read_only": True}

    def _ports(self) -> list[Value]:
        return [_published(port) for port in self.service.ports if port.published]

    def _needs(self) -> dict[str, Value]:
        needs: dict[str, Value] = {}
        if self.service.volumes:
            needs[_OWNERS] = {"condition": "service_completed_successfully"}
        for name in self.service.needs:
            needed = self.compose.stack.service(name)
            assert needed is not None, f"{self.service.name} needs {name}, which is not there"
            needs[name] = {"condition": self._condition(needed)}
        return needs

    def _condition(self, needed: Service) -> str:
        if needed.kind == "task":
            return "service_completed_successfully"
        return "service_healthy" if replace(self, service=needed)._health() else "service_started"

    def _health(self) -> dict[str, Value] | None:
        if self.service.health is None:
            return None
        return healthcheck(self.service, self.image, self.filler.asked(self.service.health.target))

    def _no_health(self) -> dict[str, Value] | None:
        """Our image asks whether a server is well, which not everything is that runs in it."""
        return {"disable": True} if self.service.program in OURS else None

    def _life(self) -> dict[str, Value]:
        service = self.service
        life: dict[str, Value] = {"restart": "unless-stopped" if service.restarts and service.kind == "server" else "no"}
        if service.kind == "task":
            life["restart"] = "on-failure:3"
        if service.kind == "server":
            life["stop_signal"] = service.stop_signal  # an image may name another as its own
        life["stop_grace_period"] = f"{round(service.grace_seconds)}s"
        return life

    def _limits(self) -> dict[str, Value]:
        service, machine = self.service, self.compose.stack.machine
        limits = service.limits
        memory = limits.memory_bytes if limits else self._usual_memory()
        cpus = (limits.cpus if limits else None) or self.image.cpus or machine.cpu_count
        told: dict[str, Value] = {
            "mem_limit": f"{max(32, memory // _MIB)}m",
            **({"cpuset": service.cpus} if service.cpus else {"cpus": min(cpus, machine.cpu_count)}),
            "pids_limit": self.image.processes,
        }
        if shared := self._shared_memory():
            told["shm_size"] = f"{shared // _MIB}m"
        deploy: dict[str, Value] = {}
        if service.replicas > 1:
            deploy["replicas"] = service.replicas
        if service.gpus is not None:
            ids: Value = [str(index) for index in service.gpus]
            devices: Value = [{"driver": "nvidia", "device_ids": ids, "capabilities": ["gpu"]}]
            deploy["resources"] = {"reservations": {"devices": devices}}
        return {**told, **({"deploy": deploy} if deploy else {})}

    def _usual_memory(self) -> int:
        """Models take what the machine has, but for what keeps it alive."""
        if self.service.name in self.compose.project.models:
            return max(GIB, int(self.compose.stack.machine.memory_bytes * 0.75 / len(self.compose.project.models)))
        return self.image.memory_mib * _MIB

    def _shared_memory(self) -> int | None:
        """GPUs of one server speak to each other through it."""
        if self.service.limits and self.service.limits.shared_memory_bytes:
            return self.service.limits.shared_memory_bytes
        return 4 * GIB * len(self.service.gpus) if self.service.gpus and self.service.name in self.compose.project.models else None

    def _files_digest(self) -> str | None:
        """Compose starts a container anew where its definition changed; of files it only sees the names."""
        own = f"files/{self.service.name}/"
        texts = [text for name, text in sorted(self.compose.texts.items()) if name.startswith(own)]
        if self.needs_entrypoint():
            texts.append(self.compose.texts[ENTRYPOINTS[self.image.interpreter or "sh"]])
        if self.service.env.get("FREEHOLD_CONFIG"):
            texts.append(self.compose.project.settings)
        return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12] if texts else None


def _mount(volume: str, target: str) -> Value:
    """Without the copy of what the image has there, and its owner."""
    return f"{volume}:{target}:nocopy"


def _temporary(path: str, user: tuple[int, int]) -> str:
    folder, _, options = path.partition(":")
    more = f",{options}" if options else ""
    return f"{folder}:uid={user[0]},gid={user[1]},mode=0700{more}"


def _published(port: Port) -> Value:
    return f"{f'[{port.host}]' if ':' in port.host else port.host}:{port.number}:{port.number}"


def _escaped(value: Value) -> Value:
    """Compose fills `$NAME` itself; what is meant as it stands has its dollars doubled."""
    if isinstance(value, Alias):
        return value
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escaped(item) for item in value]
    return value
