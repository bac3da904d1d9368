#!/usr/bin/env python3
"""The brokers of deploy/'s compose file and of its StatefulSet, started as the two say, each in a container of its own
(containers.py): whether they meet with these arguments, environment, user, volumes, secret, names and ports, their probes succeed,
clients reach them on the ways that the files name, and each comes back, with its volume, under another address.

    deploy_start_test.py ROOT BIN

Exit code 77 where the machine allows no containers.
"""

import http.client
import json
import os
import sys
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

import deploy_manifests
from containers import DEADLINE_SECONDS, Container, Machine, enter, run

ROOT, BIN = (Path(argument).resolve() for argument in sys.argv[1:3])
SECRET = "0123456789abcdef" * 4
TOPIC = "orders"


def get(address, port, path, seconds=1):
    """The code of the answer; 0: none."""
    try:
        with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=seconds) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return 0


def give(path, user, group, mode):
    os.chown(path, user, group)
    path.chmod(mode)


class Brokers:
    """What holds of both files. Each knows how its engine starts a broker and finds it ready, and how clients reach that."""

    def setUp(self):
        self.entry_point, self.environment = deploy_manifests.image(ROOT)
        self.place = MACHINE.place / type(self).__name__
        self.place.mkdir()
        self.containers = {}
        self.addCleanup(self.kill_all)
        self.sent = []

    def kill_all(self):
        for container in self.containers.values():
            if not container.ends_within(0):
                container.kill()

    def test_a_cluster_that_comes_back_under_other_addresses(self):
        try:
            self.start_all()
            for name in self.names:
                self.await_ready(name)
            self.client(self.names[0], "topic", "create", TOPIC, "--partitions", "6")
            self.produce(through=self.names[0])
            self.check_all()
            for name, other, end in zip(self.names, self.names[1:] + self.names[:1], (self.kill, self.stop, self.stop)):
                before = self.containers[name].address
                end(name)
                self.produce(through=other)
                self.start(name)
                self.assertNotEqual(self.containers[name].address, before)
                self.await_ready(name)
                self.produce(through=name)
                self.check_all()
            self.check_addresses()
        except AssertionError as failure:
            for name, container in self.containers.items():
                failure.add_note(f"== the end of {name}'s log\n{container.log.read_text()[-2000:]}")
            raise

    def start_all(self):
        for name in self.names:
            self.start(name)

    def kill(self, name):
        """With its machine: others still take the name for its address, where nobody answers any more."""
        self.containers[name].kill()

    def stop(self, name):
        self.assertEqual(self.containers[name].stop(self.grace_seconds), 0, f"{name}'s exit code")
        del MACHINE.names[self.full_name(name)]

    def wait(self, name, condition, what):
        until = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            self.assertFalse(self.containers[name].ends_within(0.01), f"{name} has ended")
            if time.monotonic() > until:
                self.fail(f"{name}: not in {DEADLINE_SECONDS} s: {what}")

    def produce(self, through):
        lines = [f"line {len(self.sent) + i}" for i in range(50)]
        self.client(through, "produce", TOPIC, text="".join(f"{line}\n" for line in lines))
        self.sent += lines

    def check_all(self):
        """Each broker gives everything to clients."""
        for name in self.names:
            self.assertEqual(sorted(self.client(name, "consume", TOPIC).splitlines()), sorted(self.sent), f"through {name}")

    def check_addresses(self):
        """All is well, and each broker can be reached by the address that it has clients told."""
        status = json.loads(self.inside("cluster", "status", "--wait", "healthy", "--output", "json"))
        addresses = {broker["address"] for broker in status["brokers"]}
        self.assertEqual(len(addresses), len(self.names), status)
        for address in addresses:
            self.inside("offsets", TOPIC, "--address", address)

    def inside(self, *arguments):
        """As docker compose exec and kubectl exec do it."""
        return self.containers[self.names[0]].execute("millrace", *arguments)


class Compose(Brokers, unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.file = deploy_manifests.compose(ROOT)
        self.services = self.file["services"]
        self.names = list(self.services)
        self.grace_seconds = int(self.file["x-broker"]["stop_grace_period"].removesuffix("s"))
        # Port of the container -> port of the machine.
        self.published = {name: dict(reversed(port.split(":")) for port in service["ports"])
                          for name, service in self.services.items()}

    def full_name(self, name):
        return name

    def volume(self, name):
        path = self.place / name
        if not path.exists():
            path.mkdir()
            give(path, *deploy_manifests.image_user(ROOT), 0o750)  # a new one is a copy of what the image has there
        return path

    def secrets(self, name):
        path = self.place / f"secrets of {name}"
        if not path.exists():
            path.mkdir()
            for secret in self.services[name]["secrets"]:
                self.assertEqual(self.file["secrets"][secret["source"]], {"environment": "PEER_SECRET"})
                (path / secret["source"]).write_text(SECRET)
                give(path / secret["source"], int(secret["uid"]), int(secret["gid"]), secret["mode"])
        return path

    def start(self, name):
        service = self.services[name]
        volumes = {path: self.volume(volume) for volume, path in (mount.split(":") for mount in service["volumes"])}
        container = self.containers[name] = Container(
            MACHINE, service["hostname"], self.entry_point + service["command"], self.environment,
            user=deploy_manifests.image_user(ROOT), mounts=volumes | {"/run/secrets": self.secrets(name)},
            resolver="options ndots:0\n")
        MACHINE.names[name] = container.address
        for inner, outer in self.published[name].items():
            MACHINE.forward("127.0.0.1", outer, container.address, inner)

    def await_ready(self, name):
        check = deploy_manifests.health_check(ROOT)
        self.wait(name, lambda: self.containers[name].succeeds(*check), f"{check} succeeds")
        self.wait(name, lambda: get("127.0.0.1", self.published[name]["9471"], "/readyz") == 200, "is ready")

    def client(self, name, *arguments, text=""):
        """Outside, where no broker's name is known, at this one's published port."""
        address = f"127.0.0.1:{self.published[name]['9470']}"
        return run("timeout", DEADLINE_SECONDS, BIN / "millrace", "--address", address, *arguments, text=text)


class Kubernetes(Brokers, unittest.TestCase):
    CLUSTER_IP = "10.96.0.1"
    DOMAIN = "default.svc.cluster.local"
    RESOLVER = f"search {DOMAIN} svc.cluster.local cluster.local\noptions ndots:5\n"

    def setUp(self):
        super().setUp()
        specs = {(document["kind"], document["metadata"]["name"]): document["spec"]
                 for document in deploy_manifests.kubernetes(ROOT)}
        self.set = specs["StatefulSet", "millrace"]
        self.pod = self.set["template"]["spec"]
        [self.container] = self.pod["containers"]
        self.ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        self.names = [f"millrace-{number}" for number in range(self.set["replicas"])]
        self.grace_seconds = self.pod["terminationGracePeriodSeconds"]
        self.headless = specs["Service", self.set["serviceName"]]
        [self.client_port] = specs["Service", "millrace-client"]["ports"]
        MACHINE.names[f"millrace-client.{self.DOMAIN}"] = self.CLUSTER_IP
        self.client_pod = Container(MACHINE, "client", ["sleep", "infinity"], {}, user=(65534, 65534), resolver=self.RESOLVER)
        self.addCleanup(self.client_pod.kill)

    def full_name(self, name):
        return f"{name}.{self.set['serviceName']}.{self.DOMAIN}"

    def volume(self, name, pod):
        group = self.pod["securityContext"]["fsGroup"]
        path = self.place / f"{name} of {pod}"
        if path.exists():
            return path
        path.mkdir()
        if name in (claim["metadata"]["name"] for claim in self.set["volumeClaimTemplates"]):
            (path / "lost+found").mkdir()  # a disk of its own
            give(path / "lost+found", 0, group, 0o2770)
        else:
            [secret] = [volume["secret"] for volume in self.pod["volumes"] if volume["name"] == name]
            self.assertEqual(secret["secretName"], "millrace-peer")
            (path / "..data").mkdir()
            (path / "..data/secret").write_text(SECRET)
            give(path / "..data/secret", 0, group, secret["defaultMode"])
            (path / "secret").symlink_to("..data/secret")
        give(path, 0, group, 0o2775)
        return path

    def start_all(self):
        for name in self.names:
            self.start(name)
            if self.set["podManagementPolicy"] != "Parallel":
                self.await_ready(name)

    def start(self, name):
        arguments, environment = deploy_manifests.of_pod(self.container, name, "default", self.environment)
        security = self.pod["securityContext"]
        self.containers[name] = Container(
            MACHINE, name, self.entry_point + arguments, environment, user=(security["runAsUser"], security["runAsGroup"]),
            groups=[security["fsGroup"]], read_only_root=self.container["securityContext"]["readOnlyRootFilesystem"],
            mounts={mount["mountPath"]: self.volume(mount["name"], name) for mount in self.container["volumeMounts"]},
            resolver=self.RESOLVER)
        MACHINE.names.pop(self.full_name(name), None)
        if self.headless.get("publishNotReadyAddresses"):
            MACHINE.names[self.full_name(name)] = self.containers[name].address

    def probe_succeeds(self, name, probe):
        request = probe["httpGet"]
        return get(self.containers[name].address, self.ports[request["port"]], request["path"], probe["timeoutSeconds"]) == 200

    def await_ready(self, name):
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            self.wait(name, lambda: self.probe_succeeds(name, self.container[kind]), f"{kind} succeeds")
        MACHINE.names[self.full_name(name)] = self.containers[name].address

    def client(self, name, *arguments, text=""):
        """Another pod, for which the Service chooses this broker."""
        port = self.client_port["port"]
        MACHINE.forward(self.CLUSTER_IP, port, self.containers[name].address, self.ports[self.client_port["targetPort"]])
        return self.client_pod.execute("millrace", "--address", f"millrace-client:{port}", *arguments, text=text)


if __name__ == "__main__":
    enter()
    for variable in [name for name in os.environ if name.startswith("MILLRACE_")]:
        del os.environ[variable]
    MACHINE = Machine(BIN)
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
