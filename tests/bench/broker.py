#!/usr/bin/env python3
"""What one broker does on this machine: throughput, CPU per GB, latency, start, idle. One JSON line per case.

    tests/bench/broker.py --bin build/release/bin [--seconds 60] [--runs 5] [--dir DIR] [CASE...]

Cases: produce-1k produce-100b consume-1k latency-async latency-commit start idle (default: all, in this order, RUNS times over, so
that drift of the machine meets every case alike; the summary gives median and range).
Client and broker share the machine. Warm-up is left out of rates and percentiles. Run it on a quiet machine, and fill the page
cache first (--fill GB): pages that the machine has never used cost several times more to write.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")


class Broker:
    def __init__(self, binaries, directory):
        self.directory = tempfile.mkdtemp(dir=directory)
        self.begin = time.monotonic()
        self.process = subprocess.Popen(
            [f"{binaries}/millraced", "--data-dir", f"{self.directory}/data", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        ready = self.process.stdout.readline()
        self.address = re.search(r"listen=(\S+)", ready).group(1)

    def cpu_seconds(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mb(self):
        status = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1000

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory)


class Bench:
    def __init__(self, options):
        self.options = options

    def millrace(self, broker, *arguments):
        command = [f"{self.options.bin}/millrace", *arguments, "--address", broker.address]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout

    def load(self, broker, *arguments):
        """One bench command: its figures, and CPU seconds per GB of both sides."""
        before = broker.cpu_seconds()
        figures = json.loads(self.millrace(broker, "bench", *arguments))
        gigabytes = max(figures["bytes"], 1) / 1e9
        figures["broker_cpu_s_per_gb"] = (broker.cpu_seconds() - before) / gigabytes
        figures["client_cpu_s_per_gb"] = figures["client_cpu_seconds"] / gigabytes
        figures["cpu_s_per_gb"] = figures["broker_cpu_s_per_gb"] + figures["client_cpu_s_per_gb"]
        return figures

    def topic(self, broker, name, flush):
        self.millrace(broker, "topic", "create", name, "--partitions", "16", "--config", f"flush={flush}")

    def produce(self, size):
        broker = Broker(self.options.bin, self.options.dir)
        try:
            self.topic(broker, "bench", "async")
            return self.load(broker, "produce", "--topic", "bench", "--record-size", str(size), "--acks", "leader",
                             "--warmup", "5", "--seconds", str(self.options.seconds))
        finally:
            broker.stop()

    def consume(self):
        broker = Broker(self.options.bin, self.options.dir)
        try:
            self.topic(broker, "bench", "async")
            self.millrace(broker, "bench", "produce", "--topic", "bench", "--record-size", "1024", "--records", "4000000")
            return self.load(broker, "consume", "--topic", "bench", "--records", "4000000")
        finally:
            broker.stop()

    def latency(self, flush):
        broker = Broker(self.options.bin, self.options.dir)
        try:
            self.topic(broker, "bench", flush)
            return self.load(broker, "end-to-end", "--topic", "bench", "--record-size", "1024", "--records", "5000")
        finally:
            broker.stop()

    def start(self):
        """From fork to the first acked record, the topic's creation and the client's start included."""
        broker = Broker(self.options.bin, self.options.dir)
        try:
            subprocess.run([f"{self.options.bin}/millrace", "produce", "t", "--create", "--quiet", "--address", broker.address],
                           input="x\n", text=True, check=True, stdout=subprocess.DEVNULL)
            return {"seconds": time.monotonic() - broker.begin}
        finally:
            broker.stop()

    def idle(self):
        broker = Broker(self.options.bin, self.options.dir)
        try:
            before, begin = broker.cpu_seconds(), time.monotonic()
            threading.Event().wait(20)  # what the broker uses while nothing happens
            return {"rss_mb": broker.rss_mb(), "cpu_percent": 100 * (broker.cpu_seconds() - before) / (time.monotonic() - begin)}
        finally:
            broker.stop()

    def run(self, case):
        return {"produce-1k": lambda: self.produce(1024), "produce-100b": lambda: self.produce(100), "consume-1k": self.consume,
                "latency-async": lambda: self.latency("async"), "latency-commit": lambda: self.latency("commit"),
                "start": self.start, "idle": self.idle}[case]()


def flatten(figures):
    out = {}
    for key, value in figures.items():
        if isinstance(value, dict):
            out.update({f"{key}.{k}": v for k, v in value.items()})
        else:
            out[key] = value
    return out


def fill_page_cache(directory, gigabytes):
    path = os.path.join(directory, "fill")
    block = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for _ in range(int(gigabytes * 1000)):
            file.write(block)
    os.remove(path)


def main():
    cases = ["produce-1k", "produce-100b", "consume-1k", "latency-async", "latency-commit", "start", "idle"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--dir", default=tempfile.gettempdir())
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--fill", type=float, default=0, metavar="GB")
    parser.add_argument("cases", nargs="*", metavar="CASE", choices=cases + [[]])
    options = parser.parse_args()
    if options.fill:
        fill_page_cache(options.dir, options.fill)
    bench = Bench(options)
    results = {}
    for run in range(options.runs):
        for case in options.cases or cases:
            figures = flatten(bench.run(case))
            print(json.dumps({"case": case, "run": run, **figures}), flush=True)
            for key, value in figures.items():
                results.setdefault((case, key), []).append(value)
    for (case, key), values in results.items():
        print(f"{case:15} {key:24} median {statistics.median(values):14.3f}   {min(values):.3f} .. {max(values):.3f}")


if __name__ == "__main__":
    main()
