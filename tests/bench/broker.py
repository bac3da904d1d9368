#!/usr/bin/env python3
"""What one broker does on this machine, and Apache Kafka beside it: throughput, CPU per GB, latency, start, idle.

    tests/bench/broker.py --dir DIR [--bin build/release/bin] [--kafka DIR] [--seconds 60] [--runs 5] [CASE...]

Cases: produce-1k burst-1k produce-100b consume-1k latency-async latency-commit start idle (default: all). Each run takes every
case of both sides in turn, so that drift of the machine meets all alike; a JSON line for each, then medians and ranges.
--kafka names a folder with Kafka's jars (see kafka.py); without it only Millrace is measured.

How: client and broker share the machine, one broker, 16 partitions, replication factor 1, `flush=async` and acks `leader` where
not said otherwise (Kafka: acks=1). Each case has a broker and a directory of its own. The page cache is kept full (machine.py).
Millrace is warmed up for 5 s, Kafka for 45 s in the same process, which counts in nothing (CPU seconds of consuming have the JVM's start).
What was produced is counted again by the offsets, what is consumed by the records. --dir must be on a real disk with room for
a minute of producing. Run it on a machine that does nothing else.
"""
import os
import threading
import time

import machine
import runs
from kafka import Kafka
from millrace import Millrace

KIB = 1024
PARTITIONS = 16
CONSUMED_RECORDS = 4_000_000
BURST_RECORDS = 3_000_000
LATENCY_RECORDS = 5_000
IDLE_SECONDS = 10
KAFKA_WARMUP_SECONDS = 45
MOVES_GIGABYTES = {"produce-1k", "burst-1k", "produce-100b", "consume-1k"}


class MillraceCases:
    def __init__(self, options):
        self.options = options

    def start_broker(self, _):
        return Millrace(self.options.bin, self.options.dir)

    def produce(self, broker, size):
        broker.create_topic("bench", PARTITIONS, "async")
        load = ["produce", "--topic", "bench", "--record-size", str(size), "--acks", "leader"]
        warmed = broker.bench(*load, "--seconds", "5")
        device = machine.device_bytes_written(self.options.dir)
        figures = broker.bench(*load, "--seconds", str(self.options.seconds))
        figures["device_bytes_per_byte"] = (machine.device_bytes_written(self.options.dir) - device) / figures["bytes"]
        self.expect(broker.stored_records("bench"), warmed["records"] + figures["records"])
        return figures

    def burst(self, broker):
        broker.create_topic("bench", PARTITIONS, "async")
        figures = broker.bench("produce", "--topic", "bench", "--record-size", str(KIB), "--acks", "leader", "--records",
                               str(BURST_RECORDS))
        self.expect(broker.stored_records("bench"), BURST_RECORDS)
        return figures

    def consume(self, broker):
        broker.create_topic("bench", PARTITIONS, "async")
        broker.bench("produce", "--topic", "bench", "--record-size", str(KIB), "--records", str(CONSUMED_RECORDS))
        os.sync()
        figures = broker.bench("consume", "--topic", "bench", "--records", str(CONSUMED_RECORDS))
        self.expect(figures["records"], CONSUMED_RECORDS)
        return figures

    def latency(self, broker, flush):
        broker.create_topic("bench", PARTITIONS, flush)
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

    def start_broker(self, case):
        return Kafka(self.options.kafka, self.options.dir, flush=case == "latency-commit")

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


def main():
    every = ["produce-1k", "burst-1k", "produce-100b", "consume-1k", "latency-async", "latency-commit", "start", "idle"]
    runs.main(__doc__, every, MOVES_GIGABYTES, seconds=60, millrace=MillraceCases, kafka=KafkaCases)


if __name__ == "__main__":
    main()
