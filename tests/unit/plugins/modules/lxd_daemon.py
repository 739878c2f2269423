# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""An LXD that is not there: its documents, ETags and operations, and a clock that only moves when somebody waits."""

from __future__ import annotations

import copy
import hashlib
import json
import typing as t
from pathlib import Path

from ansible_collections.securebox.stack.plugins.module_utils import lxd
from ansible_collections.securebox.stack.plugins.module_utils.lxd_volume import VolumeError

IDMAP = [{"Isuid": True, "Isgid": True, "Hostid": 1000000, "Nsid": 0, "Maprange": 65536}]


class Response:
    def __init__(self, body: t.Any, etag: str = "") -> None:
        self.body, self.headers = body, {"ETag": etag} if etag else {}

    def json(self) -> t.Any:
        return copy.deepcopy(self.body)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Daemon(lxd.Lxd):
    """Answers requests as the daemon does, and remembers them."""

    def __init__(self, seconds: float = 60, project: str | None = None) -> None:
        self.clock = Clock()
        super().__init__(None, project, lxd.Deadline(seconds, self.clock))
        self.instances: dict[str, lxd.Document] = {}
        self.aliases: dict[str, str] = {"debian": "f" * 64}
        self.volumes: set[tuple[str, str]] = set()
        self.documents: dict[str, list[lxd.Document]] = {"storage-pools": [], "networks": [], "profiles": []}
        self.config: dict[str, str] = {}
        self.features = {"idmapped_mounts": "true"}
        self.log: list[tuple[str, str]] = []
        self.ran: list[tuple[list[str], str | None]] = []
        # What others do between a read and a write: one entry is used up by each PUT of an instance.
        self.meanwhile: list[t.Callable[[lxd.Document], None]] = []
        # Exit codes of the commands run in an instance, the last for ever; operations that end in an error.
        self.exits: dict[str, list[int]] = {}
        self.broken: dict[str, str] = {}
        self.operations: dict[str, lxd.Document] = {}

    def add(self, name: str, status: str = "Stopped", **parts: t.Any) -> lxd.Document:
        config = {"volatile.idmap.next": json.dumps(IDMAP), **parts.pop("config", {})}
        document = {"name": name, "status": status, "config": config, "devices": {}, "profiles": ["default"],
                    "architecture": "x86_64", "ephemeral": False, "description": "", **parts}
        self.instances[name] = document
        return document

    def changes(self) -> list[tuple[str, str]]:
        return [entry for entry in self.log if entry[0] != "GET" and not entry[1].endswith("/exec")]

    def pause(self, seconds: float) -> None:
        self.clock.now += seconds

    def run(self, argv: list[str], what: str, stdin: str | None = None) -> str:
        self.ran.append((argv, stdin))
        if argv[:3] == ["lxc", "image", "import"]:
            self.import_image(*argv[3:])
        return ""

    def import_image(self, metadata: str, rootfs: str, option: str, alias: str) -> None:
        """As the client does it: the alias is made only if the image is new."""
        assert option == "--alias"
        fingerprint = hashlib.sha256(Path(metadata).read_bytes() + Path(rootfs).read_bytes()).hexdigest()
        if fingerprint in self.aliases.values():
            raise lxd.LxdError("Importing: Error: Image with same fingerprint already exists")
        self.aliases[alias] = fingerprint

    def request(self, method: str, path: str, body: t.Any = None, etag: str | None = None, **query: t.Any) -> Response:
        self.deadline.left(f"{method} {path}")
        self.log.append((method, path))
        head, _, rest = path.partition("/")
        handler = getattr(self, "on_" + (head or "server").replace("-", "_"), None)
        if handler is None:
            raise AssertionError(f"the fake daemon has no {path}")
        return handler(method, rest, body, etag)

    def etag(self, document: lxd.Document) -> str:
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def operation(self, key: str, metadata: lxd.Document | None = None) -> Response:
        name = f"op{len(self.operations)}"
        done = {"status_code": 400, "status": "Failure", "err": self.broken[key]} if key in self.broken else \
            {"status_code": 200, "status": "Success", "metadata": metadata}
        self.operations[name] = done
        return Response({"operation": f"/1.0/operations/{name}"})

    def on_server(self, *_: t.Any) -> Response:
        return Response({"metadata": {"config": self.config, "environment": {"kernel_features": self.features}}})

    def on_operations(self, method: str, rest: str, *_: t.Any) -> Response:
        return Response({"metadata": self.operations[rest.split("/")[0]]})

    def on_storage_pools(self, method: str, rest: str, *_: t.Any) -> Response:
        if not rest:
            return Response({"metadata": self.documents["storage-pools"]})
        pool, volume = rest.split("/")[0], rest.split("/")[-1]
        if (pool, volume) not in self.volumes:
            raise lxd.NotFound(rest)
        return Response({"metadata": {"name": volume}})

    def on_networks(self, *_: t.Any) -> Response:
        return Response({"metadata": self.documents["networks"]})

    def on_profiles(self, *_: t.Any) -> Response:
        return Response({"metadata": self.documents["profiles"]})

    def on_images(self, method: str, rest: str, body: t.Any, *_: t.Any) -> Response:
        if method == "POST":
            self.aliases[body["name"]] = body["target"]
            return Response({})
        known = self.aliases if rest.startswith("aliases/") else self.aliases.values()
        if rest.removeprefix("aliases/").replace("%2F", "/") not in known:
            raise lxd.NotFound(rest)
        return Response({"metadata": {}})

    def on_instances(self, method: str, rest: str, body: t.Any, etag: str | None) -> Response:
        name, _, part = rest.partition("/")
        if not name and method == "GET":
            return Response({"metadata": list(self.instances.values())})
        if not name:
            self.add(body["name"], **{k: body[k] for k in ("config", "devices", "profiles")})
            return self.operation(f"create {body['name']}")
        if name not in self.instances:
            raise lxd.NotFound(name)
        document = self.instances[name]
        if part == "exec":
            codes = self.exits.get(name, [0])
            return self.operation(f"exec {name}", {"return": codes.pop(0) if len(codes) > 1 else codes[0]})
        if part == "state":
            return self.state(method, document, body)
        if method == "GET":
            return Response({"metadata": {**document, "expanded_config": document["config"]}}, self.etag(document))
        return self.put(document, body, etag)

    def put(self, document: lxd.Document, body: lxd.Document, etag: str | None) -> Response:
        if self.meanwhile:
            self.meanwhile.pop(0)(document)
        if etag and etag != self.etag(document):
            raise lxd.Conflict("412")
        # As LXD does: what is not named is dropped.
        document.update({key: copy.deepcopy(body.get(key, {})) for key in ("config", "devices", "profiles")})
        return self.operation(f"put {document['name']}")

    def state(self, method: str, document: lxd.Document, body: t.Any) -> Response:
        if method == "GET":
            nic = document["devices"].get("eth0", {})
            found = [{"address": nic[key]} for key in ("ipv4.address", "ipv6.address") if key in nic]
            return Response({"metadata": {"network": {"eth0": {"addresses": found}, "lo": {"addresses": []}}}})
        assert body["force"] is False, "nothing is ever stopped by force"
        key = f"{body['action']} {document['name']}"
        if key not in self.broken:
            document["status"] = "Running" if body["action"] == "start" else "Stopped"
        return self.operation(key)


class Directories:
    """The host's directories: {path: (uid, gid, empty)}, and what volume each lies in."""

    def __init__(self, **directories: tuple[int, int, bool]) -> None:
        self.directories = {path.replace("_", "/"): value for path, value in directories.items()}
        self.luks: dict[str, str] = {}
        self.all_ids = True
        self.given: list[tuple[str, int, int]] = []

    def verify(self, source: str, luks_uuid: str | None, filesystem_uuid: str | None) -> None:
        if source not in self.directories:
            raise VolumeError(f"The source {source} does not exist.")
        if luks_uuid and self.luks.get(source) != luks_uuid:
            raise VolumeError(f"{source} is not in {luks_uuid}")

    def exists(self, source: str) -> bool:
        return source in self.directories

    def owner(self, source: str) -> tuple[int, int, bool]:
        return self.directories[source]

    def owns_all_ids(self) -> bool:
        return self.all_ids

    def chown(self, source: str, uid: int, gid: int) -> None:
        self.directories[source] = (uid, gid, self.directories[source][2])
        self.given.append((source, uid, gid))


