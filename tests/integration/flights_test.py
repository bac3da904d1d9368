#!/usr/bin/env python3
"""A real file goes in through `millrace produce` and comes out through `millrace consume`, byte for byte.

    flights_test.py --bin DIR [--file FILE.jsonl.gz] [--partitions N]

With the aircraft as key, every partition has to hold exactly the lines whose key murmur2 maps there, in the file's order.
Lines without a key may lie anywhere, once, in order within a partition. This is tried with each codec, with the broker
killed (-9) while the file streams in, and again after an orderly restart and after another kill. The default file is the
sample in deploy/sample.
"""

import argparse
import collections
import gzip
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[2] / "deploy/sample/flights-2013-sample.jsonl.gz"


def murmur2(data):
    """MurmurHash2 as Kafka's clients have it, written from its definition."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    end = len(data) & ~3
    for i in range(0, end, 4):
        k = int.from_bytes(data[i:i + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    if len(data) > end:
        h = (h ^ int.from_bytes(data[end:], "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


class Broker:
    """A millraced on a data directory of its own. Restarts keep the port, as a real broker's would."""

    def __init__(self, binaries, directory):
        self.binaries = binaries
        self.directory = directory
        self.listen = "127.0.0.1:0"
        self.process = None
        self.start()

    def start(self):
        log = open(self.directory / "broker.log", "ab")
        self.process = subprocess.Popen(
            [self.binaries / "millraced", "--data-dir", self.directory / "data", "--listen", self.listen, "--http", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            sys.exit(f"the broker did not start:\n{(self.directory / 'broker.log').read_text()[-4000:]}")
        self.listen = dict(field.split("=", 1) for field in line.split()[1:])["listen"]

    def end(self, how):
        self.process.send_signal(how)
        code = self.process.wait()
        self.process.stdout.close()
        if how == signal.SIGTERM and code != 0:
            sys.exit(f"the broker ended with {code} on SIGTERM:\n{(self.directory / 'broker.log').read_text()[-4000:]}")

    def restart(self, how):
        self.end(how)
        self.start()

    def command(self, *arguments):
        return [self.binaries / "millrace", *arguments, "--address", self.listen]

    def run(self, *arguments):
        done = subprocess.run(self.command(*arguments), stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode != 0:
            sys.exit(f"millrace {' '.join(arguments)}: exit {done.returncode}\n{done.stderr.decode()}")
        return done.stdout


class Stream:
    """The lines of the file, and where each has to come out."""

    def __init__(self, file, partitions):
        with gzip.open(file, "rb") as lines:
            self.lines = lines.read().splitlines(keepends=True)
        self.partitions = partitions
        self.keyed = collections.defaultdict(list)  # partition -> lines, in order
        self.keyless = {}                           # line -> places in the file
        partition_of = {}
        for place, line in enumerate(self.lines):
            key = json.loads(line)["tailnum"]
            if key is None:
                self.keyless.setdefault(line, []).append(place)
                continue
            if key not in partition_of:
                partition_of[key] = (murmur2(key.encode()) & 0x7FFFFFFF) % partitions
            self.keyed[partition_of[key]].append(line)

    def check(self, broker, topic):
        """Reads every partition and holds it against the file."""
        keyless_found = collections.Counter()
        for partition in range(self.partitions):
            found = broker.run("consume", topic, "--partition", str(partition), "--quiet").splitlines(keepends=True)
            keyless = [line for line in found if line in self.keyless]
            keyed = [line for line in found if line not in self.keyless]
            if keyed != self.keyed[partition]:
                first = next((i for i, (a, b) in enumerate(zip(keyed, self.keyed[partition])) if a != b),
                             min(len(keyed), len(self.keyed[partition])))
                sys.exit(f"{topic}-{partition}: {len(keyed)} lines with a key instead of {len(self.keyed[partition])}; "
                         f"the first difference is at line {first}")
            self.check_order(topic, partition, keyless)
            keyless_found.update(keyless)
        expected = {line: len(places) for line, places in self.keyless.items()}
        if keyless_found != expected:
            sys.exit(f"{topic}: {keyless_found.total()} lines without a key instead of {sum(expected.values())}")

    def check_order(self, topic, partition, keyless):
        last, seen = -1, collections.Counter()
        for line in keyless:
            places = self.keyless[line]
            place = places[min(seen[line], len(places) - 1)]
            seen[line] += 1
            # Equal lines cannot be told apart: only lines that occur once say something about order.
            if len(places) == 1:
                if place < last:
                    sys.exit(f"{topic}-{partition}: lines without a key changed their order: {line!r}")
                last = place


PRODUCE = ("--key-field", "tailnum", "--timestamp-field", "time", "--output", "json")


def check_acked(stream, topic, reply):
    result = json.loads(reply)
    if result["acked"] != len(stream.lines) or result["failed"] != 0:
        sys.exit(f"{topic}: {result} instead of {len(stream.lines)} acked")


def produce_through_kill(broker, stream, topic):
    """Kills the broker once the first third is on its way and while the second streams in; the last comes after the restart."""
    third = len(stream.lines) // 3
    with subprocess.Popen(broker.command("produce", topic, *PRODUCE), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as producer:
        def feed(begin, end):
            producer.stdin.write(b"".join(stream.lines[begin:end]))
            producer.stdin.flush()

        feed(0, third)
        while sum(p["latest"] for p in json.loads(broker.run("offsets", topic, "--output", "json"))) == 0:
            pass
        feeder = threading.Thread(target=feed, args=(third, 2 * third))
        feeder.start()
        broker.restart(signal.SIGKILL)
        feeder.join()
        feed(2 * third, len(stream.lines))
        producer.stdin.close()
        reply = producer.stdout.read()
    if producer.returncode != 0:
        sys.exit(f"{topic}: produce ended with {producer.returncode}: {reply!r}")
    check_acked(stream, topic, reply)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True)
    parser.add_argument("--file", type=Path, default=SAMPLE)
    parser.add_argument("--partitions", type=int, default=8)
    arguments = parser.parse_args()
    stream = Stream(arguments.file, arguments.partitions)
    directory = Path(tempfile.mkdtemp(prefix="millrace-flights-"))
    broker = Broker(arguments.bin.resolve(), directory)
    try:
        topics = [f"flights-{codec}" for codec in ("none", "lz4", "zstd")]
        for topic in topics:
            broker.run("topic", "create", topic, "--partitions", str(arguments.partitions))
            reply = broker.run("produce", topic, "--file", str(arguments.file), "--compression", topic.split("-")[1], *PRODUCE)
            check_acked(stream, topic, reply)
            stream.check(broker, topic)
            print(f"{topic}: {len(stream.lines)} lines in and out", flush=True)

        topics.append("flights-killed")
        broker.run("topic", "create", topics[-1], "--partitions", str(arguments.partitions))
        produce_through_kill(broker, stream, topics[-1])

        for how in (None, signal.SIGTERM, signal.SIGKILL):
            if how:
                broker.restart(how)
            for topic in topics:
                stream.check(broker, topic)
            print(f"all topics again{f' after {how.name}' if how else ''}: the same", flush=True)
        broker.end(signal.SIGTERM)
    except BaseException:
        if broker.process.poll() is None:
            broker.end(signal.SIGKILL)
        print(f"left for a look: {directory}", file=sys.stderr)
        raise
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
