#!/usr/bin/env python3
"""Consumer groups on the brokers of deploy/local-cluster: each record is handled, by one member, whatever happens to anybody.

    deploy/local-cluster groups [--seconds S] [--seed X]

Streams the sample in, while the groups `payment` and `email` read it, each with members that come, leave, are killed (-9) and paused
for longer than their session time-out; brokers are killed, paused and stopped, too. A member is `millrace consume --group`: it commits
exactly what it has written out. Then, of each group:
  - every record was written out by some member;
  - none was written out twice by members that were never killed, paused or given up;
  - the committed offsets are the ends of the partitions.
"""

import argparse
import collections
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from local_cluster_demo import BACK, PARTITIONS, READY_SECONDS, TOPIC, Cluster, Failure, Stream

GROUPS = ("payment", "email")
SESSION_SECONDS = 6  # longer than a broker is away, shorter than a member
MEMBERS_MAX = 5
INTERRUPTED = 130  # of the exit codes of millrace
LOST = "gave up "  # what a member says whose session has ended
REFUSED = "not this member's any more"  # of a commit


class Member:
    """One process, and what it has written out."""

    def __init__(self, cluster, group, directory, number):
        self.group = group
        self.name = f"{group}-{number}"
        self.out = Path(directory, f"{self.name}.out")
        self.err = Path(directory, f"{self.name}.err")
        self.disturbed = False
        self.paused_until = None
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                cluster.command("consume", TOPIC, "--group", group, "--session-timeout", f"{SESSION_SECONDS}s", "--format", r"%p %o\n"),
                stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def pause(self, seconds):
        self.disturbed = True
        self.process.send_signal(signal.SIGSTOP)
        self.paused_until = time.monotonic() + seconds

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.paused_until = None

    def kill(self):
        self.disturbed = True
        self.process.kill()
        self.process.wait()

    def leave(self):
        if self.paused_until:
            self.resume()
        self.process.send_signal(signal.SIGINT)
        if self.process.wait(READY_SECONDS) != INTERRUPTED:
            raise Failure(f"{self.name}: exit {self.process.returncode}\n{self.err.read_text()}")

    def is_clean(self):
        said = self.err.read_text()
        if REFUSED in said and LOST not in said:
            raise Failure(f"{self.name} lost a partition that it had not let go of, and was not told:\n{said}")
        return not self.disturbed and LOST not in said

    def written(self):
        """(partition, offset) of each record; a line that a kill has cut short is none."""
        for line in self.out.read_text().split("\n")[:-1]:
            partition, offset = line.split(" ")
            yield int(partition), int(offset)


class Crowd:
    """The members of all groups."""

    def __init__(self, cluster, directory, dice):
        self.cluster, self.directory, self.dice = cluster, directory, dice
        self.running, self.gone = [], []
        for group in GROUPS:
            for _ in range(2):
                self.join(group)

    def join(self, group):
        self.running.append(Member(self.cluster, group, self.directory, len(self.running) + len(self.gone)))
        return self.running[-1]

    def disturb(self):
        """Something happens to somebody; says what."""
        for member in self.running:
            if member.paused_until and member.paused_until < time.monotonic():
                member.resume()
                return f"resume {member.name}"
        group = self.dice.choice(GROUPS)
        active = [member for member in self.running if member.group == group and not member.paused_until]
        if len(active) < 2:
            return f"join   {self.join(group).name}"
        how = self.dice.choice(("join", "leave", "kill", "pause"))
        if how == "join":
            return f"join   {self.join(group).name}" if len(active) < MEMBERS_MAX else "-"
        member = self.dice.choice(active)
        if how == "pause":
            member.pause(self.dice.uniform(1, 2 * SESSION_SECONDS))
        else:
            member.kill() if how == "kill" else member.leave()
            self.running.remove(member)
            self.gone.append(member)
        return f"{how:6} {member.name}"

    def finish(self):
        for member in self.running:
            if member.paused_until:
                member.resume()
        for group in GROUPS:
            self.await_all_committed(group)
        for member in self.running:
            member.leave()
        self.gone += self.running
        self.running = []

    def await_all_committed(self, group):
        until = time.monotonic() + READY_SECONDS
        while True:
            lag = json.loads(self.cluster.millrace("group", "lag", group, "--output", "json"))
            partitions = lag["partitions"]
            if len(partitions) == PARTITIONS and all(p["committed"] == p["high_watermark"] for p in partitions):
                return
            if time.monotonic() > until:
                raise Failure(f"group {group} has not come to the end within {READY_SECONDS} s: {json.dumps(lag)}")
            time.sleep(0.1)

    def stop(self):
        for member in self.running:
            member.kill()


def disturb(cluster, stream, crowd, dice, seconds):
    """Brokers one at a time; members between and meanwhile."""
    begin = time.monotonic()
    counts = collections.Counter()

    def say(text):
        counts[text.split()[0]] += 1
        print(f"{time.monotonic() - begin:6.1f} s  {stream.acked:9,} acked  {text}", flush=True)

    while time.monotonic() < begin + seconds:
        how, broker = dice.choice(list(BACK)), dice.choice(list(cluster.members))
        cluster.script(how, broker)
        say(f"{how:6} broker {broker}")
        for _ in range(dice.randrange(1, 4)):
            time.sleep(dice.uniform(0.1, 0.7))
            say(crowd.disturb())
        cluster.script(BACK[how], broker)
        cluster.await_ready(broker)
        for _ in range(dice.randrange(1, 3)):
            time.sleep(dice.uniform(0.1, 0.7))
            say(crowd.disturb())
        stream.raise_error()
    return counts


def check(group, members, ends):
    """Returns how many records were written out by several."""
    times = {partition: bytearray(end) for partition, end in ends.items()}
    by_clean = {partition: bytearray(end) for partition, end in ends.items()}
    for member in members:
        clean = member.is_clean()
        for partition, offset in member.written():
            times[partition][offset] = min(times[partition][offset] + 1, 2)
            if not clean:
                continue
            by_clean[partition][offset] += 1
            if by_clean[partition][offset] > 1:
                raise Failure(f"{group}: {TOPIC}-{partition} offset {offset} was handled twice by members that nothing had happened to")
    if missing := sum(counts.count(0) for counts in times.values()):
        raise Failure(f"{group}: {missing} records were handled by nobody")
    return sum(counts.count(2) for counts in times.values())


def demonstrate(cluster, directory, dice, seconds):
    copies = min(3, len(cluster.members))
    subprocess.run(cluster.command("topic", "delete", TOPIC, "--quiet"), capture_output=True, check=False)
    cluster.millrace("topic", "create", TOPIC, "--partitions", PARTITIONS, "--replication-factor", copies)
    stream = Stream(cluster)
    crowd = Crowd(cluster, directory, dice)
    try:
        print(f"\n== groups {' and '.join(GROUPS)} read {TOPIC}, {PARTITIONS} partitions, {seconds} s of faults", flush=True)
        stream.start()
        counts = disturb(cluster, stream, crowd, dice, seconds)
        stream.end()
        print(f"{stream.acked:,} lines acked; " + ", ".join(f"{how}: {count}" for how, count in sorted(counts.items())), flush=True)
        cluster.await_healthy()
        crowd.finish()
    finally:
        crowd.stop()
    ends = {row["partition"]: row["latest"] for row in json.loads(cluster.millrace("offsets", TOPIC, "--output", "json"))}
    if sum(ends.values()) != stream.acked:
        raise Failure(f"{sum(ends.values())} records are there, {stream.acked} were acked")
    for group in GROUPS:
        members = [member for member in crowd.gone if member.group == group]
        again = check(group, members, ends)
        clean = sum(member.is_clean() for member in members)
        print(f"{group}: {len(members)} members, {clean} of them undisturbed: each of {stream.acked:,} records was handled, "
              f"{again:,} again after a member was lost; committed is what was handled", flush=True)
        cluster.millrace("group", "delete", group)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", required=True, help="folder of a cluster that runs")
    parser.add_argument("--cluster", required=True, help="its brokers, as millraced --cluster takes them")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    arguments = parser.parse_args()
    again = f"deploy/local-cluster groups --seconds {arguments.seconds} --seed {arguments.seed}"
    print(f"\nseed {arguments.seed}; the same faults again: {again}", flush=True)
    with tempfile.TemporaryDirectory(prefix="millrace-groups-") as directory:
        try:
            demonstrate(Cluster(arguments.dir, arguments.cluster), directory, random.Random(arguments.seed), arguments.seconds)
        except Failure as failure:
            sys.exit(f"\nlocal-cluster groups: FAILED: {failure}\nThe brokers' logs and data are in {arguments.dir}.")
        except KeyboardInterrupt:
            sys.exit(130)
    print("\nAll is as it should be.")


if __name__ == "__main__":
    main()
