#!/usr/bin/env python3
"""What three brokers with three replicas do on this machine, and Apache Kafka beside them.

    tests/bench/cluster.py --dir DIR [--bin build/release/bin] [--kafka DIR] [--seconds 60] [--runs 5] [CASE...]

Cases (default: all), each with a cluster and directories of its own; see broker.py for how they are run and read. 1 KiB records,
16 partitions, acks `quorum` where not said otherwise (Kafka: acks=all and min.insync.replicas=2; `kafka` has batches of 256 KiB and
linger.ms=5, `kafka_default` the producer's defaults).
    produce-1k                  as fast as possible, `flush=async`; topics keep 4 GiB, so that the disk does not fill
    burst-1k                    1 GB of it
    produce-100b                100 bytes
    commit-1 -16 -100           as fast as possible into so many partitions, `flush=commit` (Kafka: log.flush.interval.messages=1)
    many                        as produce-1k, into 10,000 partitions
    rate25-async -commit        25 MB/s, open loop: the time from when a record was due to its ack
    rate50-async                50 MB/s
    latency-async -commit       one record at a time, from its sending to its receipt by a consumer
    consume                     4 million records by one consumer, which the page cache has
    kill freeze                 10 times kill -9 (3 times SIGSTOP) of a broker under 3,200 records a second: the longest time without an
                                ack of the partitions that it led, and of the others; the worst of them
    start                       from fork of the three, for the first time, to the first ack
    create                      a topic of 1,000 partitions
    idle-0 -1000 -10000         CPU and memory of the largest broker with so many partitions
"""
import json
import os
import subprocess
import threading
import time

import machine
import runs
from kafka import Kafka
from millrace import Millrace

KIB = 1024
BROKERS = 3
PARTITIONS = 16
CONSUMED_RECORDS = 4_000_000
BURST_RECORDS = 1_000_000
LATENCY_RECORDS = 5_000
IDLE_SECONDS = 20
SETTLING_SECONDS = 15  # after what was made for it
SHORT_SECONDS = 20  # of cases that need no minute
WARMUP_SECONDS = 3
KAFKA_WARMUP_SECONDS = 45
FIRST_GUESSES = {"produce-1k": 200_000, "produce-100b": 900_000}  # records per second of Kafka's first run
# Before these the page cache is filled again: they write, and freed memory has gone back to the host of a virtual machine.
LOADS = {"produce-1k", "burst-1k", "produce-100b", "commit-1", "commit-16", "commit-100", "many", "rate25-async", "rate25-commit",
         "rate50-async", "latency-async", "latency-commit", "consume"}
KEPT_BYTES = 4 << 30  # of a topic, whatever its partitions


class MillraceCases:
    def __init__(self, options):
        self.options = options

    def start_broker(self, _):
        return Millrace(self.options.bin, self.options.dir, BROKERS)

    def produce(self, cluster, size=KIB, partitions=PARTITIONS, flush="async", seconds=SHORT_SECONDS):
        self.create(cluster, partitions, flush)
        load = ["produce", "--topic", "bench", "--record-size", str(size)]
        warmed = cluster.bench(*load, "--seconds", "5")
        device = machine.device_bytes_written(self.options.dir)
        figures = cluster.bench(*load, "--seconds", str(seconds))
        figures["device_bytes_per_byte"] = (machine.device_bytes_written(self.options.dir) - device) / figures["bytes"]
        self.expect(self.written(cluster), warmed["records"] + figures["records"])
        self.expect(self.out_of_sync(cluster), 0)
        return figures

    def burst(self, cluster):
        self.create(cluster, PARTITIONS, "async")
        figures = cluster.bench("produce", "--topic", "bench", "--record-size", str(KIB), "--records", str(BURST_RECORDS))
        self.expect(self.written(cluster), BURST_RECORDS)
        return figures

    def rate(self, cluster, megabytes, flush):
        self.create(cluster, PARTITIONS, flush)
        return cluster.bench("produce", "--topic", "bench", "--record-size", str(KIB), "--rate", str(megabytes * 1_000_000 // KIB),
                             "--warmup", str(WARMUP_SECONDS), "--seconds", str(SHORT_SECONDS))

    def latency(self, cluster, flush):
        self.create(cluster, 1, flush)
        return cluster.bench("end-to-end", "--topic", "bench", "--record-size", str(KIB), "--records", str(LATENCY_RECORDS),
                             "--warmup", "2")

    def consume(self, cluster):
        cluster.create_topic("bench", PARTITIONS, "async")
        cluster.bench("produce", "--topic", "bench", "--record-size", str(KIB), "--records", str(CONSUMED_RECORDS))
        os.sync()
        figures = cluster.bench("consume", "--topic", "bench", "--records", str(CONSUMED_RECORDS))
        self.expect(figures["records"], CONSUMED_RECORDS)
        return figures

    def kill(self, cluster):
        def come_back(victim):
            cluster.start()

        return self._failovers(cluster, 10, cluster.kill, come_back)

    def freeze(self, cluster):
        return self._failovers(cluster, 3, cluster.freeze, cluster.thaw)

    def _failovers(self, cluster, rounds, strike, undo):
        self.create(cluster, PARTITIONS, "commit")
        program = os.path.join(self.options.bin, "..", "tests", "bench", "failover_bench")
        led, others = [], []
        for round in range(rounds):
            victim = 1 + round % BROKERS
            self.settle(cluster)
            with subprocess.Popen([program, cluster.address, "bench", str(victim), "5"], stdout=subprocess.PIPE, text=True) as bench:
                if bench.stdout.readline() != "now\n":
                    raise RuntimeError("failover_bench did not begin")
                strike(victim)
                figures = json.loads(bench.stdout.read())
            undo(victim)
            self.expect(figures["failed"], 0)
            led.append(figures["led_ms"])
            others.append(figures["others_ms"])
        return {"led_ms": max(led), "others_ms": max(others)}

    def settle(self, cluster):
        """Waits until every broker leads its share again."""
        deadline = time.monotonic() + 60
        while min(cluster.leaders("bench").count(broker) for broker in cluster.addresses) < PARTITIONS // BROKERS:
            if time.monotonic() > deadline:
                raise RuntimeError("leaderships are not given back")
            threading.Event().wait(0.2)

    def start(self, cluster):
        """From fork to the first acked record, the topic's creation and the client's start included."""
        cluster.command("produce", "t", "--create", "--quiet", input="x\n")
        return {"seconds": time.monotonic() - cluster.begin, "ready_seconds": cluster.ready_seconds}

    def create_many(self, cluster):
        begin = time.monotonic()
        cluster.create_topic("bench", 1000, "commit")
        return {"seconds": time.monotonic() - begin}

    def idle(self, cluster, partitions):
        if partitions:
            cluster.create_topic("bench", partitions, "commit")
            cluster.command("produce", "bench", "--quiet", input="x\n")
        return idle(cluster)

    @staticmethod
    def create(cluster, partitions, flush):
        cluster.command("topic", "create", "bench", "--partitions", str(partitions), "--config", f"flush={flush}",
                        "--config", f"retention.bytes={max(1 << 20, KEPT_BYTES // partitions)}")

    @staticmethod
    def written(cluster):
        return sum(partition["latest"] for partition in json.loads(cluster.command("offsets", "bench", "--output", "json")))

    @staticmethod
    def out_of_sync(cluster):
        """Partitions of which a replica has not all that was acked a little later: a majority is ahead of the third."""
        deadline = time.monotonic() + 30
        while True:
            partitions = json.loads(cluster.command("topic", "describe", "bench", "--output", "json"))["partitions"]
            behind = sum(any(replica["lag_records"] for replica in partition["replica_lag"] or []) for partition in partitions)
            if not behind or time.monotonic() > deadline:
                return behind
            threading.Event().wait(0.5)

    @staticmethod
    def expect(found, wanted):
        if found != wanted:
            raise RuntimeError(f"{found}, not {wanted}")

    def cases(self):
        return {"produce-1k": lambda cluster: self.produce(cluster, seconds=self.options.seconds), "burst-1k": self.burst,
                "produce-100b": lambda cluster: self.produce(cluster, size=100),
                **{f"commit-{n}": lambda cluster, n=n: self.produce(cluster, partitions=n, flush="commit") for n in (1, 16, 100)},
                "many": lambda cluster: self.produce(cluster, partitions=10_000, seconds=self.options.seconds),
                "rate25-async": lambda cluster: self.rate(cluster, 25, "async"),
                "rate25-commit": lambda cluster: self.rate(cluster, 25, "commit"),
                "rate50-async": lambda cluster: self.rate(cluster, 50, "async"),
                "latency-async": lambda cluster: self.latency(cluster, "async"),
                "latency-commit": lambda cluster: self.latency(cluster, "commit"), "consume": self.consume, "kill": self.kill,
                "freeze": self.freeze, "start": self.start, "create": self.create_many,
                **{f"idle-{n}": lambda cluster, n=n: self.idle(cluster, n) for n in (0, 1000, 10_000)}}


class KafkaCases:
    def __init__(self, options, big=True):
        self.options = options
        self.big = big
        self.rates = {}  # by case: records per second of the last run, to know how many make up the time

    def start_broker(self, case):
        # A fresh cluster of it ends by itself now and then, when two of the three start slower than it waits for them.
        for attempt in range(3):
            try:
                return Kafka(self.options.kafka, self.options.dir, flush="commit" in case, brokers=BROKERS)
            except RuntimeError:
                if attempt == 2:
                    raise

    def produce(self, cluster, case, size=KIB, partitions=PARTITIONS):
        cluster.create_topic("bench", partitions)
        rate = self.rates.get(case, FIRST_GUESSES.get(case, 100_000) // (1 if self.big else 4))
        figures = cluster.produce("bench", size, rate * KAFKA_WARMUP_SECONDS, rate * SHORT_SECONDS, big=self.big)
        self.rates[case] = int(figures["records_per_second"])
        return figures

    def rate(self, cluster, megabytes):
        cluster.create_topic("bench", PARTITIONS)
        rate = megabytes * 1_000_000 // KIB
        return cluster.produce("bench", KIB, rate * KAFKA_WARMUP_SECONDS, rate * SHORT_SECONDS, rate, big=self.big)

    def latency(self, cluster):
        cluster.create_topic("bench", 1)
        return cluster.end_to_end("bench", KIB, LATENCY_RECORDS)

    def consume(self, cluster):
        cluster.create_topic("bench", PARTITIONS)
        cluster.produce("bench", KIB, 1, CONSUMED_RECORDS - 1)
        os.sync()
        return cluster.consume("bench", KIB, CONSUMED_RECORDS)

    def cases(self):
        produce = {"produce-1k": {}, "produce-100b": {"size": 100},
                   **{f"commit-{n}": {"partitions": n} for n in (1, 16, 100)}}
        cases = {name: lambda cluster, name=name, how=how: self.produce(cluster, name, **how) for name, how in produce.items()}
        cases.update({"rate25-async": lambda cluster: self.rate(cluster, 25), "rate25-commit": lambda cluster: self.rate(cluster, 25),
                      "rate50-async": lambda cluster: self.rate(cluster, 50)})
        if self.big:
            cases.update({"latency-async": self.latency, "latency-commit": self.latency, "consume": self.consume, "idle-0": idle})
        return cases


class KafkaDefaultCases(KafkaCases):
    def __init__(self, options):
        super().__init__(options, big=False)


def idle(cluster):
    threading.Event().wait(SETTLING_SECONDS)
    before, begin = cluster.cpu_seconds(), time.monotonic()
    threading.Event().wait(IDLE_SECONDS)  # what the brokers use while nothing happens
    percent = 100 * (cluster.cpu_seconds() - before) / (time.monotonic() - begin)
    return {"rss_mb": cluster.rss_mb(), "cpu_percent_per_broker": percent / BROKERS}


def main():
    every = list(MillraceCases(None).cases())
    runs.main(__doc__, every, LOADS, seconds=60, millrace=MillraceCases, kafka=KafkaCases,
              kafka_default=KafkaDefaultCases)


if __name__ == "__main__":
    main()
