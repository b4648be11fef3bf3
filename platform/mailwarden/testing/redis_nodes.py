"""Redis nodes on ports of this machine: one server, a cluster of three masters, a master with replica and Sentinel."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import redis

from mailwarden.errors import StoreUnavailable
from mailwarden.stores.online.server import dies_with_parent

HOST = "127.0.0.1"
SERVICE = "mailwarden"
"""Name that the Sentinel knows the master by."""

SLOTS = 16_384

_START_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Node:
    """A redis-server of ours. port: on the loopback address."""

    port: int
    process: subprocess.Popen[bytes]

    def ask(self, *command: str | int) -> Any:
        """The reply to a command."""
        with redis.Redis(HOST, self.port, socket_timeout=5.0) as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def cluster(folder: Path, masters: int = 3) -> Iterator[list[Node]]:
    """Masters that share all slots, without replicas; `cluster_url` names them."""
    with contextlib.ExitStack() as stack:
        nodes, buses = [], []
        for _ in range(masters):
            port, bus = _free_ports(2)
            options = ["--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{port}.conf"]
            options += ["--cluster-port", str(bus), "--cluster-node-timeout", "2000"]
            nodes.append(stack.enter_context(_server(folder, port, options)))
            buses.append(bus)
        edges = [SLOTS * i // masters for i in range(masters + 1)]
        for index, node in enumerate(nodes):
            node.ask("CLUSTER", "ADDSLOTSRANGE", edges[index], edges[index + 1] - 1)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for node, bus in zip(nodes[1:], buses[1:], strict=True):
            nodes[0].ask("CLUSTER", "MEET", HOST, node.port, bus)
        for node in nodes:
            _until(partial(_whole, node, masters), "the nodes of the cluster to find each other")
        yield nodes


def cluster_url(nodes: list[Node]) -> str:
    """URL for `open_client`."""
    return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in nodes)


@dataclass(frozen=True, slots=True)
class Watched:
    """A master, its replica and the Sentinel that watches them."""

    master: Node
    replica: Node
    sentinel: Node

    @property
    def url(self) -> str:
        """URL for `open_client`."""
        return f"redis+sentinel://{HOST}:{self.sentinel.port}/{SERVICE}/0"

    def master_port(self) -> int:
        """Port of the master that the Sentinel names now."""
        return int(self.sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def await_replica(self) -> None:
        """Wait until the replica holds what the master does."""
        # WAIT counts the writes of its own connection alone.
        written = self.master.ask("INFO", "replication")["master_repl_offset"]
        _until(
            lambda: self.replica.ask("INFO", "replication")["slave_repl_offset"] >= written, "the replica to catch up"
        )


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    """A master with one replica, and a Sentinel that fails over half a second after the master went away."""
    with contextlib.ExitStack() as stack:
        first, second, third = _free_ports(3)
        master = stack.enter_context(_server(folder, first, ["--repl-diskless-sync-delay", "0"]))
        replica = stack.enter_context(_server(folder, second, ["--replicaof", f"{HOST} {first}"]))
        _until(lambda: replica.ask("INFO", "replication")["master_link_status"] == "up", "the replica to connect")
        config = folder / "sentinel.conf"
        config.write_text(
            f"sentinel monitor {SERVICE} {HOST} {first} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\n"
            f"sentinel failover-timeout {SERVICE} 2000\n"
        )
        sentinel = stack.enter_context(_server(folder, third, ["--sentinel"], config))
        found = Watched(master, replica, sentinel)
        _until(lambda: bool(sentinel.ask("SENTINEL", "REPLICAS", SERVICE)), "the Sentinel to find the replica")
        yield found


def _whole(node: Node, masters: int) -> bool:
    known = node.ask("CLUSTER", "INFO").decode().splitlines()
    return "cluster_state:ok" in known and f"cluster_known_nodes:{masters}" in known


@contextlib.contextmanager
def _server(folder: Path, port: int, options: list[str], config: Path | None = None) -> Iterator[Node]:
    binary = shutil.which("redis-server")
    if binary is None:
        raise StoreUnavailable("redis-server is not installed; install it (apt-get install redis-server)")
    own = folder / str(port)
    own.mkdir(parents=True)
    command = [*dies_with_parent(), binary, *([str(config)] if config is not None else [])]
    command += ["--port", str(port), "--bind", HOST, "--dir", str(own)]
    if config is None:
        command += ["--save", "", "--appendonly", "no"]
    with (own / "redis.log").open("wb") as log:
        process = subprocess.Popen([*command, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    node = Node(port, process)
    try:
        _until(lambda: process.poll() is not None or bool(_answers(node)), f"redis-server on port {port}")
        if process.poll() is not None:
            raise StoreUnavailable(f"redis-server ended at once; see {own}/redis.log")
        yield node
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            node.kill()


def _answers(node: Node) -> bool:
    try:
        return bool(node.ask("PING"))
    except redis.ConnectionError:
        return False


def _free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(n)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


def _until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise StoreUnavailable(f"waited {_START_SECONDS:g} s in vain for {what}")
        time.sleep(0.05)
