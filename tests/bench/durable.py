#!/usr/bin/env python3
"""What it costs that records are on the disk before their ack, and what a full store does to a broker; Apache Kafka beside it.

    tests/bench/durable.py --dir DIR [--bin build/release/bin] [--kafka DIR] [--seconds 20] [--runs 5] [CASE...]

Cases (default: all), each with a broker and a directory of its own; see broker.py for how they are run and read.
    produce-1 -16 -100 -10000   1 KiB as fast as possible into so many partitions, `flush=commit`
                                (Kafka: log.flush.interval.messages=1, so that it syncs too; not with 10,000)
    rate-commit rate-async      50 MB/s of 1 KiB, open loop, 16 partitions: the time from when a record was due to its ack
                                (Millrace: four are due every 82 us; Kafka's tool has no such clock, and linger.ms=5)
    beside                      1 MB/s into a topic with `flush=commit` beside 200 MB/s into one with `flush=async`
    start-1000 start-10000      10 GB in so many partitions, kill -9: until it is ready, and until a new client's first ack
    replay                      25 MB/s, `flush=commit`, alone, beside four consumers that replay 10 GB from the disk at 50 MB/s
                                each (throttled), and beside four that do so as fast as they are let (unthrottled). And beside
                                four at 50 MB/s that another broker serves from memory (elsewhere): with those the acks share
                                nothing but the machine's processors, so what throttled replays cost beyond it is the broker's
                                own doing. It is left out where /dev/shm has no room for their records
"""
import json
import os
import sys
import time

import machine
import runs
from kafka import Kafka
from millrace import Millrace, result_of

KIB = 1024
PARTITIONS = 16
RATE = 50_000_000 // KIB
KAFKA_WARMUP_SECONDS = 45
FULL_RECORDS = 10_000_000_000 // KIB
PRODUCE_PARTITIONS = (1, 16, 100, 10_000)
START_PARTITIONS = (1_000, 10_000)
WARMUP_SECONDS = 3
REPLAY_RATE = 4 * RATE
LOAD = ["produce", "--record-size", str(KIB), "--acks", "leader"]


class MillraceCases:
    def __init__(self, options):
        self.options = options

    def start_broker(self, _):
        return Millrace(self.options.bin, self.options.dir)

    def produce(self, broker, partitions):
        broker.create_topic("bench", partitions, "commit")
        warmed = broker.bench(*LOAD, "--topic", "bench", "--seconds", "5")
        figures = broker.bench(*LOAD, "--topic", "bench", "--seconds", str(self.options.seconds))
        if broker.stored_records("bench") != warmed["records"] + figures["records"]:
            raise RuntimeError("not what was acked is there")
        return figures

    def rate(self, broker, flush):
        broker.create_topic("bench", PARTITIONS, flush)
        return broker.bench(*self._paced("bench", RATE))

    def beside(self, broker):
        broker.create_topic("async", PARTITIONS, "async")
        broker.create_topic("commit", 1, "commit")
        many = broker.in_background("bench", *self._paced("async", 4 * RATE))
        few = result_of(broker.in_background("bench", *self._paced("commit", RATE // 50)))
        return {"latency_ms": few["latency_ms"], "async_megabytes_per_second": result_of(many)["megabytes_per_second"]}

    def start(self, broker, partitions):
        broker.create_topic("bench", partitions, "commit")
        broker.bench(*LOAD, "--topic", "bench", "--records", str(FULL_RECORDS))
        broker.kill()
        broker.start()
        broker.command("produce", "bench", "--quiet", input="x\n")
        return {"ready_seconds": broker.ready_seconds, "first_ack_seconds": time.monotonic() - broker.begin}

    def replay(self, broker):
        broker.create_topic("full", PARTITIONS, "async")
        broker.create_topic("live", PARTITIONS, "commit")
        broker.bench(*LOAD, "--topic", "full", "--records", str(FULL_RECORDS))
        figures = {**self._acks_beside("alone", broker), **self._acks_beside("throttled", broker, broker, REPLAY_RATE),
                   **self._acks_beside("unthrottled", broker, broker)}
        records = REPLAY_RATE * (WARMUP_SECONDS + self.options.seconds + 5)  # and 5 s for the programs to start
        if machine.memory_for_files() < 1.2 * records * KIB:
            print(f"replay: no control `elsewhere`: {machine.MEMORY_DIRECTORY} has no room for {records * KIB / 1e9:.1f} GB of records",
                  file=sys.stderr)
            return figures
        elsewhere = Millrace(self.options.bin, machine.MEMORY_DIRECTORY)
        try:
            elsewhere.create_topic("full", PARTITIONS, "async")
            elsewhere.bench(*LOAD, "--topic", "full", "--records", str(records))
            return {**figures, **self._acks_beside("elsewhere", broker, elsewhere, REPLAY_RATE)}
        finally:
            elsewhere.stop()

    def _acks_beside(self, name, broker, replayed=None, rate=None):
        """Latencies of `broker` while four consumers replay what `replayed` has: all together `rate` records a second."""
        os.sync()
        self.options.page_cache.fill()  # drives out what was written
        if replayed:
            paced = ["--rate", str(rate)] if rate else []
            replay = replayed.in_background("bench", "consume", "--topic", "full", "--consumers", "4", "--records",
                                            str(replayed.stored_records("full")), *paced)
        live = result_of(broker.in_background("bench", *self._paced("live", RATE // 2)))
        figures = {f"{name}.{key}": value for key, value in live["latency_ms"].items()}
        if replayed:
            if replay.poll() is not None:
                raise RuntimeError("the replay ended before the measured time did")
            replay.terminate()  # it then tells how far it came
            result = json.loads(replay.communicate()[0])
            if result["errors"]:
                raise RuntimeError(f"{result['errors']} errors of the replay")
            figures[f"{name}.replay_megabytes_per_second"] = result["megabytes_per_second"]
        return figures

    def _paced(self, topic, rate):
        return [*LOAD, "--topic", topic, "--rate", str(rate), "--warmup", str(WARMUP_SECONDS), "--seconds",
                str(self.options.seconds)]

    def cases(self):
        return {**{f"produce-{n}": lambda broker, n=n: self.produce(broker, n) for n in PRODUCE_PARTITIONS},
                "rate-commit": lambda broker: self.rate(broker, "commit"), "rate-async": lambda broker: self.rate(broker, "async"),
                "beside": self.beside, **{f"start-{n}": lambda broker, n=n: self.start(broker, n) for n in START_PARTITIONS},
                "replay": self.replay}


class KafkaCases:
    def __init__(self, options):
        self.options = options
        self.rates = {}  # by partitions: records per second of the last run, to know how many make up the time

    def start_broker(self, case):
        return Kafka(self.options.kafka, self.options.dir, flush=case != "rate-async")

    def produce(self, broker, partitions):
        broker.create_topic("bench", partitions)
        rate = self.rates.get(partitions, 30_000)
        figures = broker.produce("bench", KIB, rate * KAFKA_WARMUP_SECONDS, rate * self.options.seconds)
        self.rates[partitions] = int(figures["records_per_second"])
        return figures

    def rate(self, broker):
        broker.create_topic("bench", PARTITIONS)
        return broker.produce("bench", KIB, RATE * KAFKA_WARMUP_SECONDS, RATE * self.options.seconds, RATE)

    def cases(self):
        return {**{f"produce-{n}": lambda broker, n=n: self.produce(broker, n) for n in PRODUCE_PARTITIONS[:-1]},
                "rate-commit": self.rate, "rate-async": self.rate}


if __name__ == "__main__":
    every = [*(f"produce-{n}" for n in PRODUCE_PARTITIONS), "rate-commit", "rate-async", "beside",
             *(f"start-{n}" for n in START_PARTITIONS), "replay"]
    runs.main(__doc__, every, every, seconds=20, millrace=MillraceCases, kafka=KafkaCases)
