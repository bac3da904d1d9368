"""Brokers of Apache Kafka, one or a cluster, and Kafka's own benchmark tools: the far side of the benchmarks.

DIR holds the jars of a Kafka distribution in `libs`; if it also has a folder `tools`, the client's jars are taken from there.
The settings are Kafka's defaults but for what is said here; the producer has the batches that suited it best (256 KiB, 5 ms)
where `big` is not false. In a cluster replication factor 3, acks=all and min.insync.replicas=2; alone acks=1.
"""
import os
import queue
import re
import resource
import shutil
import subprocess
import tempfile
import threading
import time

from machine import cpu_seconds, rss_mb

JVM = ("-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent "
       "-Djava.awt.headless=true").split()
START_SECONDS = 120  # without a word
BIG_BATCHES = ["batch.size=262144", "linger.ms=5"]
LOG4J = """<Configuration><Appenders><Console name="C" target="SYSTEM_ERR"><PatternLayout pattern="%p %m%n"/></Console></Appenders>
<Loggers><Root level="{level}"><AppenderRef ref="C"/></Root></Loggers></Configuration>
"""


class Kafka:
    def __init__(self, distribution, directory, port=19092, flush=False, brokers=1):
        self.home = tempfile.mkdtemp(prefix="kafka-", dir=directory)
        self.ids = range(1, brokers + 1)
        self.port = port
        self.address = ",".join(f"127.0.0.1:{port + id}" for id in self.ids)
        self.replicas = min(brokers, 3)
        self.acks = "1" if brokers == 1 else "all"
        tools = os.path.join(distribution, "tools")
        self.server_jars = os.path.join(distribution, "libs", "*")
        self.tool_jars = os.path.join(tools, "*") if os.path.isdir(tools) else self.server_jars
        self._configure(flush)
        self.begin = time.monotonic()
        self.processes = {id: self._launch(id) for id in self.ids}
        try:
            self._wait_until_started()
        except RuntimeError:
            self.stop()
            raise
        self.start_seconds = time.monotonic() - self.begin

    def _configure(self, flush):
        for side, level in (("server", "INFO"), ("client", "WARN")):
            with open(f"{self.home}/{side}.xml", "w") as file:
                file.write(LOG4J.format(level=level))
        cluster = self._tool("kafka.tools.StorageTool", "random-uuid", jars=self.server_jars).stdout.strip()
        voters = ",".join(f"{id}@127.0.0.1:{self.port + 100 + id}" for id in self.ids)
        in_sync = max(1, self.replicas - 1)
        for id in self.ids:
            with open(f"{self.home}/{id}.properties", "w") as file:
                file.write("\n".join([
                    "process.roles=broker,controller", f"node.id={id}", f"controller.quorum.voters={voters}",
                    f"listeners=PLAINTEXT://127.0.0.1:{self.port + id},CONTROLLER://127.0.0.1:{self.port + 100 + id}",
                    f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port + id}", "controller.listener.names=CONTROLLER",
                    f"log.dirs={self.home}/data{id}", f"offsets.topic.replication.factor={self.replicas}",
                    f"default.replication.factor={self.replicas}", f"min.insync.replicas={in_sync}",
                    f"transaction.state.log.replication.factor={self.replicas}",
                    f"transaction.state.log.min.isr={in_sync}", "auto.create.topics.enable=false",
                    *(["log.flush.interval.messages=1"] if flush else []), ""]))
            self._tool("kafka.tools.StorageTool", "format", "-t", cluster, "-c", f"{self.home}/{id}.properties",
                       jars=self.server_jars)

    def _launch(self, id):
        return subprocess.Popen(
            ["java", *JVM, "-Xms1g", "-Xmx1g", f"-Dlog4j2.configurationFile={self.home}/server.xml", "-cp", self.server_jars,
             "kafka.Kafka", f"{self.home}/{id}.properties"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def _wait_until_started(self):
        """All of them, of which one may end instead."""
        said = queue.Queue()

        def read(process):
            for line in process.stderr:
                said.put(line)
            said.put(None)

        for process in self.processes.values():
            threading.Thread(target=read, args=[process], daemon=True).start()  # to the end: a full pipe would block it
        lines, starting = [], set(self.ids)
        while starting:
            try:
                lines.append(said.get(timeout=START_SECONDS))
            except queue.Empty:
                lines.append(None)
            if lines[-1] is None:
                raise RuntimeError("Kafka did not start:\n" + "".join(lines[-30:-1]))
            if "Kafka Server started" in lines[-1]:
                starting.pop()

    def _tool(self, *arguments, jars=None):
        return subprocess.run(
            ["java", *JVM, "-Xmx512m", f"-Dlog4j2.configurationFile={self.home}/client.xml", "-cp", jars or self.tool_jars,
             *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)

    def _measured(self, size, records, *arguments):
        """Runs a tool; gives its output, and CPU seconds per GB of both sides, the JVM's start included."""
        before, client_before = self.cpu_seconds(), _children_cpu()
        output = self._tool(*arguments).stdout
        gigabytes = size * records / 1e9
        return output, _per_gb((self.cpu_seconds() - before) / gigabytes, (_children_cpu() - client_before) / gigabytes)

    def _steady(self, size, warmup, *arguments):
        """Runs a producer; gives its output, and CPU seconds per GB from the first of its reports after `warmup` records to its last."""
        lines, sent, samples = [], 0, []
        with subprocess.Popen(
                ["java", *JVM, "-Xmx512m", f"-Dlog4j2.configurationFile={self.home}/client.xml", "-cp", self.tool_jars, *arguments],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tool:
            for line in tool.stdout:
                lines.append(line)
                report = re.match(r"(\d+) records sent, [^%]*ms max latency\.$", line)
                sent += int(report.group(1)) if report else 0
                if report and sent >= warmup:
                    samples.append((sent, self.cpu_seconds(), cpu_seconds(tool.pid)))
        if tool.returncode != 0 or len(samples) < 2:
            raise RuntimeError("".join(lines[-5:]))
        records, brokers, client = (last - first for first, last in zip(samples[0], samples[-1]))
        return "".join(lines), _per_gb(brokers / (size * records / 1e9), client / (size * records / 1e9))

    def create_topic(self, name, partitions):
        self._tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", self.address, "--create", "--topic", name,
                   "--partitions", str(partitions), "--replication-factor", str(self.replicas))

    def produce(self, topic, size, warmup, records, rate=-1, big=True):
        """`rate`: records per second; without one as fast as possible."""
        output, cpu = self._steady(
            size, warmup, "org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records",
            str(warmup + records), "--record-size", str(size), "--throughput", str(rate), "--warmup-records", str(warmup),
            "--command-property", f"bootstrap.servers={self.address}", f"acks={self.acks}", *(BIG_BATCHES if big else []))
        steady = re.search(r"^\d+ steady state records sent, ([\d.]+) records/sec.* (\d+) ms 50th, .* (\d+) ms 99th, (\d+) ms 99.9th",
                           output, re.M)
        per_second, *latency = steady.groups()
        return {"records_per_second": float(per_second), "megabytes_per_second": float(per_second) * size / 1e6,
                "latency_ms": dict(zip(("p50", "p99", "p999"), map(int, latency))), **cpu}

    def consume(self, topic, size, records):
        output, cpu = self._measured(
            size, records, "org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server", self.address, "--topic", topic,
            "--num-records", str(records), "--timeout", "60000")
        header, row = [line.split(", ") for line in output.splitlines() if ", " in line][-2:]
        fields = dict(zip((name.strip() for name in header), row))
        # Fetching alone, without the seconds that joining its group takes.
        return {"megabytes_per_second": float(fields["fetch.MB.sec"]) * 1.048576, **cpu}

    def end_to_end(self, topic, size, records):
        output = self._tool("org.apache.kafka.tools.EndToEndLatency", "--bootstrap-server", self.address, "--topic", topic,
                            "--num-records", str(records), "--producer-acks", self.acks, "--record-size", str(size)).stdout
        found = re.search(r"50th = (\d+), 99th = (\d+)", output)
        return {"latency_ms": {"p50": int(found.group(1)), "p99": int(found.group(2))}}

    def rss_mb(self):
        """Of the largest."""
        return max(rss_mb(process.pid) for process in self.processes.values())

    def cpu_seconds(self):
        return sum(cpu_seconds(process.pid) for process in self.processes.values())

    def stop(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait()
        shutil.rmtree(self.home)


def _per_gb(broker, client):
    return {"broker_cpu_s_per_gb": broker, "client_cpu_s_per_gb": client, "cpu_s_per_gb": broker + client}


def _children_cpu():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
