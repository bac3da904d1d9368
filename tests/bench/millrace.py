"""One broker of Millrace and the command line as its client: the near side of the benchmarks."""
import json
import re
import shutil
import subprocess
import tempfile
import time

import machine


class Millrace:
    def __init__(self, binaries, directory):
        self.binaries = binaries
        self.directory = tempfile.mkdtemp(dir=directory)
        self.start()

    def start(self):
        self.begin = time.monotonic()
        self.process = subprocess.Popen(
            [f"{self.binaries}/millraced", "--data-dir", f"{self.directory}/data", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        ready = self.process.stdout.readline()
        self.ready_seconds = time.monotonic() - self.begin
        self.address = re.search(r"listen=(\S+)", ready).group(1)

    def kill(self):
        self.process.kill()
        self.process.wait()

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

    def cpu_seconds(self):
        return machine.cpu_seconds(self.process.pid)

    def rss_mb(self):
        return machine.rss_mb(self.process.pid)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory)


def result_of(background):
    """The figures of a bench command that ran beside others."""
    output = background.communicate()[0]
    figures = json.loads(output)
    if background.returncode or figures["errors"]:
        raise RuntimeError(f"exit {background.returncode}: {output}")
    return figures
