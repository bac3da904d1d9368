"""Brokers of Millrace, one or a cluster, and the command line as their client: the near side of the benchmarks."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import machine


class Millrace:
    def __init__(self, binaries, directory, brokers=1):
        self.binaries = binaries
        self.directory = tempfile.mkdtemp(dir=directory)
        self.processes = {}  # by broker id
        self.addresses = {broker: f"127.0.0.1:{port}" for broker, port in enumerate(_free_ports(brokers), 1)}
        with open(f"{self.directory}/secret", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(os.urandom(32).hex())
        self.start()

    @property
    def address(self):
        return ",".join(self.addresses.values())

    def start(self):
        """Starts all that are not running, and waits until they can serve."""
        self.begin = time.monotonic()
        stopped = [broker for broker in self.addresses if broker not in self.processes]
        for broker in stopped:
            self._launch(broker)
        for broker in stopped:
            if not re.match("ready ", self.processes[broker].stdout.readline()):
                raise RuntimeError(f"broker {broker} did not start: {self.directory}/{broker}.log")
        self.ready_seconds = time.monotonic() - self.begin

    def _launch(self, broker):
        members = ",".join(f"{id}@{address}" for id, address in self.addresses.items())
        cluster = ["--cluster", members, "--peer-secret-file", f"{self.directory}/secret"] if len(self.addresses) > 1 else []
        with open(f"{self.directory}/{broker}.log", "a") as log:
            self.processes[broker] = subprocess.Popen(
                [f"{self.binaries}/millraced", "--data-dir", f"{self.directory}/data{broker}", "--broker-id", str(broker),
                 "--listen", self.addresses[broker], "--http", "127.0.0.1:0", *cluster],
                stdout=subprocess.PIPE, stderr=log, text=True)

    def kill(self, broker=None):
        """One broker, or all."""
        for killed in [broker] if broker else list(self.processes):
            process = self.processes.pop(killed)
            process.kill()
            process.wait()

    def freeze(self, broker):
        self.processes[broker].send_signal(signal.SIGSTOP)

    def thaw(self, broker):
        self.processes[broker].send_signal(signal.SIGCONT)

    def command(self, *arguments, **options):
        return subprocess.run(self._line(arguments), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
                              **options).stdout

    def in_background(self, *arguments):
        """A command that goes on beside others; result_of() waits for it."""
        return subprocess.Popen(self._line(arguments), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def _line(self, arguments):
        return [f"{self.binaries}/millrace", *arguments, "--address", self.address]

    def create_topic(self, name, partitions, flush):
        self.command("topic", "create", name, "--partitions", str(partitions), "--config", f"flush={flush}")

    def bench(self, *arguments):
        """One bench command: its figures, and CPU seconds per GB of both sides."""
        before = self.cpu_seconds()
        figures = json.loads(self.command("bench", *arguments))
        gigabytes = figures["bytes"] / 1e9
        if figures["errors"]:
            raise RuntimeError(f"{figures['errors']} errors: {arguments}")
        broker = (self.cpu_seconds() - before) / gigabytes
        client = figures["client_cpu_seconds"] / gigabytes
        return {**figures, "broker_cpu_s_per_gb": broker, "client_cpu_s_per_gb": client, "cpu_s_per_gb": broker + client}

    def stored_records(self, topic):
        offsets = json.loads(self.command("offsets", topic, "--output", "json"))
        return sum(partition["latest"] - partition["earliest"] for partition in offsets)

    def leaders(self, topic):
        """By partition."""
        described = json.loads(self.command("topic", "describe", topic, "--output", "json"))
        return [partition["leader"] for partition in described["partitions"]]

    def cpu_seconds(self):
        return sum(machine.cpu_seconds(process.pid) for process in self.processes.values())

    def rss_mb(self):
        """Of the largest."""
        return max(machine.rss_mb(process.pid) for process in self.processes.values())

    def stop(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait()
        shutil.rmtree(self.directory)


def _free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def result_of(background):
    """The figures of a bench command that ran beside others."""
    output = background.communicate()[0]
    figures = json.loads(output)
    if background.returncode or figures["errors"]:
        raise RuntimeError(f"exit {background.returncode}: {output}")
    return figures
