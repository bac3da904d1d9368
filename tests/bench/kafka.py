"""One Apache Kafka broker and its own benchmark tools: the other side of broker.py and durable.py.

DIR holds the jars of a Kafka distribution in `libs`; if it also has a folder `tools`, the client's jars are taken from there.
The settings are Kafka's defaults but for what is said here; the producer has the batches that suited it best (256 KiB, 5 ms).
"""
import os
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
BIG_BATCHES = ["batch.size=262144", "linger.ms=5"]
LOG4J = """<Configuration><Appenders><Console name="C" target="SYSTEM_ERR"><PatternLayout pattern="%p %m%n"/></Console></Appenders>
<Loggers><Root level="{level}"><AppenderRef ref="C"/></Root></Loggers></Configuration>
"""


class Kafka:
    def __init__(self, distribution, directory, port=19092, flush=False):
        self.home = tempfile.mkdtemp(prefix="kafka-", dir=directory)
        self.address = f"127.0.0.1:{port}"
        tools = os.path.join(distribution, "tools")
        self.server_jars = os.path.join(distribution, "libs", "*")
        self.tool_jars = os.path.join(tools, "*") if os.path.isdir(tools) else self.server_jars
        self._configure(port, flush)
        self.begin = time.monotonic()
        self._start()

    def _configure(self, port, flush):
        for side, level in (("server", "INFO"), ("client", "WARN")):
            with open(f"{self.home}/{side}.xml", "w") as file:
                file.write(LOG4J.format(level=level))
        with open(f"{self.home}/server.properties", "w") as file:
            file.write("\n".join([
                "process.roles=broker,controller", "node.id=1", f"controller.quorum.voters=1@127.0.0.1:{port + 1}",
                f"listeners=PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{port + 1}",
                f"advertised.listeners=PLAINTEXT://{self.address}", "controller.listener.names=CONTROLLER",
                f"log.dirs={self.home}/data", "offsets.topic.replication.factor=1",
                "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
                "auto.create.topics.enable=false", *(["log.flush.interval.messages=1"] if flush else []), ""]))
        cluster = self._tool("kafka.tools.StorageTool", "random-uuid", jars=self.server_jars).stdout.strip()
        self._tool("kafka.tools.StorageTool", "format", "-t", cluster, "-c", f"{self.home}/server.properties",
                   jars=self.server_jars)

    def _start(self):
        self.process = subprocess.Popen(
            ["java", *JVM, "-Xms1g", "-Xmx1g", f"-Dlog4j2.configurationFile={self.home}/server.xml", "-cp", self.server_jars,
             "kafka.Kafka", f"{self.home}/server.properties"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said = []
        while "Kafka Server started" not in (said[-1] if said else ""):
            said.append(self.process.stderr.readline())
            if not said[-1]:
                raise RuntimeError("Kafka did not start:\n" + "".join(said[-20:]))
        threading.Thread(target=self.process.stderr.read, daemon=True).start()  # or else it would block on a full pipe
        self.start_seconds = time.monotonic() - self.begin

    def _tool(self, *arguments, jars=None):
        return subprocess.run(
            ["java", *JVM, "-Xmx512m", f"-Dlog4j2.configurationFile={self.home}/client.xml", "-cp", jars or self.tool_jars,
             *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)

    def _measured(self, size, records, *arguments):
        """Runs a tool; gives its output, and CPU seconds per GB of both sides, the JVM's start and warm-up included."""
        before, client_before = cpu_seconds(self.process.pid), _children_cpu()
        output = self._tool(*arguments).stdout
        gigabytes = size * records / 1e9
        broker = (cpu_seconds(self.process.pid) - before) / gigabytes
        client = (_children_cpu() - client_before) / gigabytes
        return output, {"broker_cpu_s_per_gb": broker, "client_cpu_s_per_gb": client, "cpu_s_per_gb": broker + client}

    def create_topic(self, name, partitions):
        self._tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", self.address, "--create", "--topic", name,
                   "--partitions", str(partitions), "--replication-factor", "1")

    def produce(self, topic, size, warmup, records, rate=-1):
        """`rate`: records per second; without one as fast as possible."""
        output, cpu = self._measured(
            size, warmup + records, "org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records",
            str(warmup + records), "--record-size", str(size), "--throughput", str(rate), "--warmup-records", str(warmup),
            "--command-property", f"bootstrap.servers={self.address}", "acks=1", *BIG_BATCHES)
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
                            "--num-records", str(records), "--producer-acks", "1", "--record-size", str(size)).stdout
        found = re.search(r"50th = (\d+), 99th = (\d+)", output)
        return {"latency_ms": {"p50": int(found.group(1)), "p99": int(found.group(2))}}

    def rss_mb(self):
        return rss_mb(self.process.pid)

    def cpu_seconds(self):
        return cpu_seconds(self.process.pid)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.home)


def _children_cpu():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
