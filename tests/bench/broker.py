#!/usr/bin/env python3
"""What one broker does on this machine, and Apache Kafka beside it: throughput, CPU per GB, latency, start, idle.

    tests/bench/broker.py --dir DIR [--bin build/release/bin] [--kafka DIR] [--seconds 60] [--runs 5] [CASE...]

Cases: produce-1k burst-1k produce-100b consume-1k latency-async latency-commit start idle (default: all). Each run takes every
case of both sides in turn, so that drift of the machine meets all alike; a JSON line for each, then medians and ranges.
--kafka names a folder with Kafka's jars (see kafka.py); without it only Millrace is measured.

How: client and broker share the machine, one broker, 16 partitions, replication factor 1, `flush=async` and acks `leader` where
not said otherwise (Kafka: acks=1). Each case has a broker and a directory of its own. The page cache is kept full (machine.py).
Millrace is warmed up for 5 s, which counts in nothing; Kafka for 45 s, which counts in its CPU seconds as the JVM's start does.
What was produced is counted again by the offsets, what is consumed by the records. --dir must be on a real disk with room for
a minute of producing. Run it on a machine that does nothing else.
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

import machine
from kafka import Kafka

KIB = 1024
PARTITIONS = 16
CONSUMED_RECORDS = 4_000_000
BURST_RECORDS = 3_000_000
LATENCY_RECORDS = 5_000
IDLE_SECONDS = 10
KAFKA_WARMUP_SECONDS = 45
MOVES_GIGABYTES = {"produce-1k", "burst-1k", "produce-100b", "consume-1k"}


class Millrace:
    def __init__(self, binaries, directory):
        self.binaries = binaries
        self.directory = tempfile.mkdtemp(dir=directory)
        self.begin = time.monotonic()
        self.process = subprocess.Popen(
            [f"{binaries}/millraced", "--data-dir", f"{self.directory}/data", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        ready = self.process.stdout.readline()
        self.address = re.search(r"listen=(\S+)", ready).group(1)

    def command(self, *arguments, **options):
        return subprocess.run([f"{self.binaries}/millrace", *arguments, "--address", self.address], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=True, **options).stdout

    def create_topic(self, name, flush):
        self.command("topic", "create", name, "--partitions", str(PARTITIONS), "--config", f"flush={flush}")

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


class MillraceCases:
    def __init__(self, options):
        self.options = options

    def start_broker(self):
        return Millrace(self.options.bin, self.options.dir)

    def produce(self, broker, size):
        broker.create_topic("bench", "async")
        load = ["produce", "--topic", "bench", "--record-size", str(size), "--acks", "leader"]
        warmed = broker.bench(*load, "--seconds", "5")
        device = machine.device_bytes_written(self.options.dir)
        figures = broker.bench(*load, "--seconds", str(self.options.seconds))
        figures["device_bytes_per_byte"] = (machine.device_bytes_written(self.options.dir) - device) / figures["bytes"]
        self.expect(broker.stored_records("bench"), warmed["records"] + figures["records"])
        return figures

    def burst(self, broker):
        broker.create_topic("bench", "async")
        figures = broker.bench("produce", "--topic", "bench", "--record-size", str(KIB), "--acks", "leader", "--records",
                               str(BURST_RECORDS))
        self.expect(broker.stored_records("bench"), BURST_RECORDS)
        return figures

    def consume(self, broker):
        broker.create_topic("bench", "async")
        broker.bench("produce", "--topic", "bench", "--record-size", str(KIB), "--records", str(CONSUMED_RECORDS))
        os.sync()
        figures = broker.bench("consume", "--topic", "bench", "--records", str(CONSUMED_RECORDS))
        self.expect(figures["records"], CONSUMED_RECORDS)
        return figures

    def latency(self, broker, flush):
        broker.create_topic("bench", flush)
        return broker.bench("end-to-end", "--topic", "bench", "--record-size", str(KIB), "--records", str(LATENCY_RECORDS),
                            "--warmup", "2")

    def start(self, broker):
        """From fork to the first acked record, the topic's creation and the client's start included."""
        broker.command("produce", "t", "--create", "--quiet", input="x\n")
        return {"seconds": time.monotonic() - broker.begin}

    @staticmethod
    def expect(found, wanted):
        if found != wanted:
            raise RuntimeError(f"{found} records are there, {wanted} were acked")

    def cases(self):
        return {"produce-1k": lambda broker: self.produce(broker, KIB), "burst-1k": self.burst,
                "produce-100b": lambda broker: self.produce(broker, 100), "consume-1k": self.consume,
                "latency-async": lambda broker: self.latency(broker, "async"),
                "latency-commit": lambda broker: self.latency(broker, "commit"), "start": self.start, "idle": idle}


class KafkaCases:
    def __init__(self, options):
        self.options = options
        self.rate = 100_000  # records per second, of the last run; how many make up a minute

    def start_broker(self, flush=False):
        return Kafka(self.options.kafka, self.options.dir, flush=flush)

    def produce(self, broker):
        broker.create_topic("bench", PARTITIONS)
        figures = broker.produce("bench", KIB, self.rate * KAFKA_WARMUP_SECONDS, self.rate * self.options.seconds)
        self.rate = int(figures["records_per_second"])
        return figures

    def consume(self, broker):
        broker.create_topic("bench", PARTITIONS)
        broker.produce("bench", KIB, 1, CONSUMED_RECORDS - 1)
        os.sync()
        return broker.consume("bench", KIB, CONSUMED_RECORDS)

    def latency(self, broker):
        broker.create_topic("bench", 1)
        return broker.end_to_end("bench", KIB, LATENCY_RECORDS)

    def cases(self):
        return {"produce-1k": self.produce, "consume-1k": self.consume, "latency-async": self.latency,
                "latency-commit": self.latency, "start": lambda broker: {"seconds": broker.start_seconds}, "idle": idle}


def idle(broker):
    before, begin = broker.cpu_seconds(), time.monotonic()
    threading.Event().wait(IDLE_SECONDS)  # what the broker uses while nothing happens
    return {"rss_mb": broker.rss_mb(), "cpu_percent": 100 * (broker.cpu_seconds() - before) / (time.monotonic() - begin)}


def run_case(side, sides, case):
    broker = sides.start_broker(flush=True) if side == "kafka" and case == "latency-commit" else sides.start_broker()
    try:
        return sides.cases()[case](broker)
    finally:
        broker.stop()


def flatten(figures):
    out = {}
    for key, value in figures.items():
        if isinstance(value, dict):
            out.update({f"{key}.{k}": v for k, v in value.items()})
        else:
            out[key] = value
    return out


def main():
    every = ["produce-1k", "burst-1k", "produce-100b", "consume-1k", "latency-async", "latency-commit", "start", "idle"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--kafka", metavar="DIR")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("cases", nargs="*", metavar="CASE", choices=every + [[]])
    options = parser.parse_args()
    if machine.filesystem_of(options.dir) == "tmpfs":
        parser.error(f"{options.dir} is in memory; --dir must be on a disk")
    print(json.dumps(machine.describe(options.dir)), flush=True)
    sides = {"millrace": MillraceCases(options)}
    if options.kafka:
        sides["kafka"] = KafkaCases(options)
    cache = machine.PageCache(options.dir)
    results = {}

    def note(run, case, side, figures):
        print(json.dumps({"run": run, "case": case, "side": side, **figures}), flush=True)
        for key, value in figures.items():
            results.setdefault((case, key, side), []).append(value)

    try:
        for run in range(options.runs):
            cache.fill()
            note(run, "disk", "machine", {"sequential_write_mb_per_s": machine.sequential_write_mb_per_s(options.dir)})
            for case in options.cases or every:
                for side, its_cases in sides.items():
                    if case not in its_cases.cases():
                        continue
                    if case in MOVES_GIGABYTES:
                        cache.fill()
                    note(run, case, side, flatten(run_case(side, its_cases, case)))
    finally:
        cache.close()
    for (case, key, side), values in sorted(results.items()):
        print(f"{case:15} {key:26} {side:9} median {statistics.median(values):14.3f}   {min(values):.3f} .. {max(values):.3f}")


if __name__ == "__main__":
    main()
