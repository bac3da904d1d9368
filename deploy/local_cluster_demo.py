#!/usr/bin/env python3
"""The demonstration of deploy/local-cluster: what was acked stays, whatever happens to one broker at a time.

    deploy/local-cluster demo [--seconds S] [--seed X]

Streams the sample in again and again, each line with its number in it, through `millrace produce --acks quorum`, while brokers are
killed, paused and stopped at random, one at a time. Then:
  - reads every partition: all lines are there once, as they were sent, those of one aircraft in one partition and in order, offsets
    without a hole;
  - lets brokers go away until each replica of each partition has led it, and has given the same as the leaders before;
  - stops the brokers and compares the copies of each partition, batch by batch with the digest of the log up to there.
"""

import argparse
import collections
import gzip
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MILLRACE = ROOT / "build/release/bin/millrace"
SAMPLE = ROOT / "deploy/sample/flights-2013-sample.jsonl.gz"
TOPIC = "flights"
PARTITIONS = 16
LINES_PER_SECOND = 10_000
READY_SECONDS = 60
# Brokers that go away move leaders, nobody says whereto: so often it is tried until each replica has led.
MOVES = 100

NOT_REACHED = 3  # of the exit codes of millrace

BACK = {"kill": "start", "stop": "start", "pause": "resume"}


class Failure(Exception):
    """What is not as it should be."""


class Cluster:
    def __init__(self, directory, members):
        self.directory = directory
        pairs = (member.split("@") for member in members.split(","))
        self.members = {int(number): address for number, address in pairs}

    def command(self, *arguments):
        return [str(MILLRACE), *map(str, arguments), "--address", ",".join(self.members.values())]

    def millrace(self, *arguments):
        done = subprocess.run(self.command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode != 0:
            raise Failure(f"millrace {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr.decode()}")
        return done.stdout

    def script(self, *arguments):
        """A command of deploy/local-cluster."""
        done = subprocess.run([ROOT / "deploy/local-cluster", *map(str, arguments), "--dir", self.directory],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"local-cluster {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr}")

    def away(self, broker, how, seconds):
        """Takes the broker away for a while, and waits until it is whole again."""
        self.script(how, broker)
        time.sleep(seconds)
        self.script(BACK[how], broker)
        self.await_ready(broker)

    def await_ready(self, broker):
        host, port = self.members[broker].rsplit(":", 1)
        until = time.monotonic() + READY_SECONDS
        why = ""
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"http://{host}:{int(port) + 1}/readyz", timeout=2):
                    return
            except urllib.error.HTTPError as error:
                why = error.read().decode().strip()
            except OSError as error:
                why = str(error)
            time.sleep(0.05)
        raise Failure(f"broker {broker} is not ready after {READY_SECONDS} s: {why}")

    def await_healthy(self):
        """Every partition has a leader, and all of its replicas have what that has."""
        self.millrace("cluster", "status", "--wait", "healthy", "--timeout", f"{READY_SECONDS}s")

    def partitions(self):
        described = json.loads(self.millrace("topic", "describe", TOPIC, "--output", "json"))
        return {partition["partition"]: partition for partition in described["partitions"]}


class Stream(threading.Thread):
    """Sends the sample, in rounds of one `millrace produce` each, until it is told to end. Line N of all rounds has N in it."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster = cluster
        with gzip.open(SAMPLE, "rb") as lines:
            self.lines = lines.read().splitlines()
        self.keys = [json.loads(line)["tailnum"] for line in self.lines]
        self.acked = 0
        self.error = None
        self.ending = threading.Event()

    def line(self, number):
        return b'{"n":%d,%s' % (number, self.lines[number % len(self.lines)][1:])

    def key(self, number):
        return self.keys[number % len(self.keys)]

    def run(self):
        try:
            while not self.ending.is_set():
                self.send_round()
        except (Failure, OSError) as error:
            self.error = error

    def send_round(self):
        command = self.cluster.command("produce", TOPIC, "--acks", "quorum", "--key-field", "tailnum", "--timestamp-field", "time",
                                       "--output", "json")
        with tempfile.TemporaryFile() as log, \
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log) as producer:
            try:
                self.feed(producer.stdin)
            except BrokenPipeError:
                pass  # it has ended, and says why
            said = producer.stdout.read()
            code = producer.wait()
            log.seek(0)
            if code == NOT_REACHED and len(self.cluster.members) == 1:
                return  # while the only broker is away nobody can begin
            if code != 0 or json.loads(said)["acked"] != len(self.lines):
                raise Failure(f"millrace produce: exit {code}, {said.decode()}\n{log.read().decode()}")
        self.acked += len(self.lines)

    def feed(self, pipe):
        begin = time.monotonic()
        with pipe:
            for i in range(len(self.lines)):
                if i % 100 == 0:
                    pipe.flush()
                    time.sleep(max(0.0, begin + i / LINES_PER_SECOND - time.monotonic()))
                pipe.write(self.line(self.acked + i) + b"\n")

    def end(self):
        self.ending.set()
        self.join()
        self.raise_error()

    def raise_error(self):
        if self.error:
            raise self.error


def disturb(cluster, stream, dice, seconds):
    """Faults, one at a time. Returns how many of each kind."""
    begin = time.monotonic()
    counts = collections.Counter()
    while time.monotonic() < begin + seconds:
        how, broker, away, pause = (dice.choice(list(BACK)), dice.choice(list(cluster.members)), dice.uniform(0.2, 3),
                                    dice.uniform(0.2, 1))
        print(f"{time.monotonic() - begin:6.1f} s  {stream.acked:9,} acked  {how} broker {broker} for {away:.1f} s", flush=True)
        cluster.away(broker, how, away)
        counts[how] += 1
        time.sleep(pause)
        stream.raise_error()
    return counts


def read(cluster, partitions):
    """Partition -> its records as they come, each as (offset, value)."""
    flags = [word for partition in partitions for word in ("--partition", partition)]
    found = {partition: [] for partition in partitions}
    for line in cluster.millrace("consume", TOPIC, *flags, "--format", r"%p %o %v\n", "--quiet").splitlines():
        partition, offset, value = line.split(b" ", 2)
        found[int(partition)].append((int(offset), value))
    return found


def digest_of(records):
    digest = hashlib.sha256()
    for offset, value in records:
        digest.update(b"%d %s\n" % (offset, value))
    return digest.digest()


class Checker:
    """Holds what the partitions give against what was acked."""

    def __init__(self, stream):
        self.stream = stream
        self.times = bytearray(stream.acked)  # how often each line was found
        self.home = {}                        # key -> its partition

    def look_at(self, partition, records):
        last = {}
        for expected, (offset, value) in enumerate(records):
            where = f"{TOPIC}-{partition} offset {expected}"
            if offset != expected:
                raise Failure(f"{where}: the offset here is {offset}")
            number = int(value[len(b'{"n":'):value.index(b",")])
            if number >= self.stream.acked or value != self.stream.line(number):
                raise Failure(f"{where}: nobody sent this: {value!r}")
            self.times[number] = min(2, self.times[number] + 1)
            key = self.stream.key(number)
            if last.get(key, -1) >= number:
                raise Failure(f"{where}: line {number} of {key} behind line {last[key]}")
            last[key] = number
            if key is not None and self.home.setdefault(key, partition) != partition:
                raise Failure(f"{where}: {key} is in partition {self.home[key]}, too")

    def finish(self):
        missing, doubled = self.times.count(0), self.times.count(2)
        if missing or doubled:
            raise Failure(f"{missing} acked lines are missing, {doubled} are there more than once")


def read_and_check(cluster, stream):
    """Returns the digest of each partition's records."""
    checker = Checker(stream)
    found = read(cluster, range(PARTITIONS))
    for partition, records in found.items():
        checker.look_at(partition, records)
    checker.finish()
    return {partition: digest_of(records) for partition, records in found.items()}


def leaders(cluster):
    return {number: (partition["leader"], partition["leader_epoch"]) for number, partition in cluster.partitions().items()}


def await_leaders(cluster, away):
    """Until every partition is led by a broker other than that which is away; returns the leaders."""
    until = time.monotonic() + READY_SECONDS
    while True:
        leading = leaders(cluster)
        if all(leader in cluster.members and leader != away for leader, _ in leading.values()):
            return leading
        if time.monotonic() > until:
            raise Failure(f"{READY_SECONDS} s after {f'broker {away} went away' if away else 'all brokers are ready'} "
                          f"not every partition has {'another' if away else 'a'} leader")
        time.sleep(0.1)


def read_from_each_leader(cluster, dice, digests):
    """Reads each partition from each of its replicas, while that leads it. Returns how many replicas there are."""
    replicas = {(number, replica) for number, partition in cluster.partitions().items() for replica in partition["replicas"]}
    left = set(replicas)

    def read_from_leaders():
        before = leaders(cluster)
        due = {number: leader for number, (leader, _) in before.items() if (number, leader) in left}
        for number, records in (read(cluster, due) if due else {}).items():
            if digest_of(records) != digests[number]:
                raise Failure(f"{TOPIC}-{number}: broker {due[number]} as leader gives something else than the leader before it")
        after = leaders(cluster)
        left.difference_update((number, leader) for number, leader in due.items() if before[number] == after[number])

    read_from_leaders()
    for _ in range(MOVES):
        if not left:
            break
        leading = await_leaders(cluster, away=None)
        broker = dice.choice(sorted({leading[number][0] for number, _ in left}))
        how = dice.choice(("kill", "stop"))  # they choose different successors
        cluster.script(how, broker)
        await_leaders(cluster, away=broker)
        read_from_leaders()
        cluster.script(BACK[how], broker)
        cluster.await_ready(broker)
        read_from_leaders()
    if left:
        raise Failure(f"{len(left)} of {len(replicas)} replicas could not be read as leader: {MOVES} times a broker went away, and these "
                      "never led: " + ", ".join(f"broker {replica} {TOPIC}-{number}" for number, replica in sorted(left)))
    return len(replicas)


def batches_of(cluster, broker):
    """What the data directory of a stopped broker has of the topic: partition -> its batches."""
    directory = Path(cluster.directory, f"broker-{broker}", "data")
    report = json.loads(cluster.millrace("inspect", directory, "--batches", "--output", "json"))
    [topic] = [topic for topic in report["topics"] if topic["name"] == TOPIC]
    return {partition["partition"]: [batch for segment in partition["segments"] for batch in segment["list"]]
            for partition in topic["partitions"]}


def compare_copies(copies, partitions, records):
    """All copies (broker -> partition -> batches) have the same batches, with equal digests. Returns the number of copies."""
    found = 0
    for number, partition in partitions.items():
        first, *others = partition["replicas"]
        for other in others:
            if copies[other][number] != copies[first][number]:
                differ = [pair for pair in zip(copies[first][number], copies[other][number]) if pair[0] != pair[1]]
                raise Failure(f"{TOPIC}-{number}: the copies of brokers {first} and {other} differ, {len(copies[first][number])} and "
                              f"{len(copies[other][number])} batches; {differ[:1] or 'what both have is equal'}")
        found += sum(batch["records"] for batch in copies[first][number])
    if found != records:
        raise Failure(f"the copies have {found} records instead of {records}")
    return sum(len(partition["replicas"]) for partition in partitions.values())


def demonstrate(cluster, dice, seconds):
    copies = min(3, len(cluster.members))
    subprocess.run(cluster.command("topic", "delete", TOPIC, "--quiet"), capture_output=True, check=False)
    cluster.millrace("topic", "create", TOPIC, "--partitions", PARTITIONS, "--replication-factor", copies)
    stream = Stream(cluster)
    print(f"\n== {LINES_PER_SECOND:,} lines a second into {PARTITIONS} partitions, replication factor {copies}, {seconds} s of faults", flush=True)
    stream.start()
    counts = disturb(cluster, stream, dice, seconds)
    stream.end()
    print(f"{stream.acked:,} lines acked; " + ", ".join(f"{how}: {count}" for how, count in sorted(counts.items())))

    print("\n== reading everything back", flush=True)
    cluster.await_healthy()
    digests = read_and_check(cluster, stream)
    print("nothing acked is missing, nothing is there twice, each aircraft's lines are in order", flush=True)
    partitions = cluster.partitions()
    read_as_leader = read_from_each_leader(cluster, dice, digests)
    cluster.await_healthy()
    print(f"{read_as_leader} of {copies * PARTITIONS} replicas gave the same as leader of their partition", flush=True)

    print("\n== comparing the copies on the disks of the stopped brokers", flush=True)
    cluster.script("down")
    compared = compare_copies({broker: batches_of(cluster, broker) for broker in cluster.members}, partitions, stream.acked)
    print(f"{compared} copies of {PARTITIONS} partitions: equal digests", flush=True)
    cluster.script("start")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", required=True, help="folder of a cluster that runs")
    parser.add_argument("--cluster", required=True, help="its brokers, as millraced --cluster takes them")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    arguments = parser.parse_args()
    again = f"deploy/local-cluster demo --seconds {arguments.seconds} --seed {arguments.seed}"
    print(f"\nseed {arguments.seed}; the same faults again: {again}", flush=True)
    try:
        demonstrate(Cluster(arguments.dir, arguments.cluster), random.Random(arguments.seed), arguments.seconds)
    except Failure as failure:
        sys.exit(f"\nlocal-cluster demo: FAILED: {failure}\nThe brokers' logs and data are in {arguments.dir}.")
    except KeyboardInterrupt:
        sys.exit(130)
    print("\nAll is as it should be. The brokers run again; 'deploy/local-cluster down' stops them.")


if __name__ == "__main__":
    main()
