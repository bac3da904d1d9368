#!/usr/bin/env python3
"""The files of deploy/ for systemd, Docker and Kubernetes, where none of the three is at hand: each is parsed, held against the
fields that there are, and against what the broker needs of it; and the broker checks its configuration with the arguments,
environment and files that they give it.

    deploy_files_test.py ROOT BIN
"""

import configparser
import http.server
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

import yaml

from deploy_manifests import compose, health_check, image, image_user, instructions, kubernetes, of_pod

ROOT, BIN = (Path(argument).resolve() for argument in sys.argv[1:3])
DEPLOY = ROOT / "deploy"
DATA_PORT, HTTP_PORT = 9470, 9471
FLAGS = set(re.findall(r"(--[a-z-]+)", subprocess.run([BIN / "millraced", "--help"], capture_output=True, text=True, check=True)
                       .stdout.split("Settings for --set")[0]))


def fits(test, value, shape, path):
    """`shape`: a type; a dict of the fields there may be; a list with the shape of each element; anything else, by being equal."""
    if isinstance(shape, dict):
        test.assertIsInstance(value, dict, path)
        for name, inner in value.items():
            if "*" not in shape:
                test.assertIn(name, shape, f"{path} has no such field")
            fits(test, inner, shape.get(name, shape.get("*")), f"{path}.{name}")
    elif isinstance(shape, list):
        test.assertIsInstance(value, list, path)
        for i, inner in enumerate(value):
            fits(test, inner, shape[0], f"{path}[{i}]")
    elif isinstance(shape, type):
        test.assertIsInstance(value, shape, path)
    else:
        test.assertEqual(value, shape, path)


class WithBroker(unittest.TestCase):
    """Runs the broker as one of these files would, in a folder of the test's own instead of the machine's."""

    def setUp(self):
        self.place = Path(tempfile.mkdtemp(prefix="deploy_files_test."))
        self.addCleanup(shutil.rmtree, self.place)
        secret = self.place / "secret"
        secret.write_text("0123456789abcdef" * 4)
        secret.chmod(0o600)
        self.loopback = {}  # host -> an address of this machine that stands for it

    def here(self, text):
        """With each host of ADDRESS:PORT replaced by one of the loopback, and paths by those of the test."""
        def host(match):
            name = match.group(1)
            if name == "0.0.0.0":
                return match.group()
            return f"{self.loopback.setdefault(name, f'127.0.0.{len(self.loopback) + 1}')}:{match.group(2)}"

        text = re.sub(r"([A-Za-z0-9][A-Za-z0-9.-]*):(\d+)", host, text)
        text = re.sub(r"/var/lib/millrace\b", str(self.place / "data"), text)
        return re.sub(r"/(etc/millrace/peer[./]secret|run/secrets/peer-secret)\b", str(self.place / "secret"), text)

    def check_config(self, arguments, environment, host_name=None):
        """What the broker makes of it. `host_name`: of the machine that it would run on."""
        words = [self.here(word) for word in arguments]
        if host_name is not None:
            number = re.search(r"(\d+)$", host_name).group()
            words = [number if before == "--broker-id" and word == "hostname" else word
                     for before, word in zip(["", *words], words)]
        for word in words:
            self.assertTrue(not word.startswith("--") or word in FLAGS, f"{word} is no flag of millraced")
        environment = {name: self.here(value) for name, value in environment.items()}
        done = subprocess.run([BIN / "millraced", *words, "--check-config"], env=environment, capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("ignored", done.stderr)
        config = yaml.safe_load(done.stdout)
        self.assertEqual(config["data-dir"], str(self.place / "data"))
        self.assertEqual((config["listen"], config["http"]), (f"0.0.0.0:{DATA_PORT}", f"0.0.0.0:{HTTP_PORT}"))
        return config


class Systemd(WithBroker):
    FIELDS = {
        "Unit": {"Description", "Wants", "After", "StartLimitIntervalSec"},
        "Service": {"Type", "ExecStartPre", "ExecStart", "User", "Group", "StateDirectory", "StateDirectoryMode", "KillSignal",
                    "TimeoutStopSec", "Restart", "RestartSec", "RestartPreventExitStatus", "LimitNOFILE", "LimitNICE",
                    "OOMScoreAdjust", "NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices",
                    "ProtectKernelTunables", "ProtectKernelModules", "ProtectControlGroups", "RestrictAddressFamilies",
                    "RestrictNamespaces", "RestrictRealtime", "LockPersonality", "CapabilityBoundingSet"},
        "Install": {"WantedBy"},
    }

    def setUp(self):
        super().setUp()
        self.unit = DEPLOY / "systemd/millraced.service"
        parser = configparser.ConfigParser(interpolation=None, delimiters="=")
        parser.optionxform = str
        parser.read(self.unit)
        self.sections = {name: dict(parser[name]) for name in parser.sections()}

    def test_fields(self):
        for section, fields in self.sections.items():
            self.assertLessEqual(set(fields), self.FIELDS[section])

    def test_verifies(self):
        if shutil.which("systemd-analyze") is None:
            self.skipTest("systemd-analyze is not installed")
        copy = self.place / self.unit.name
        copy.write_text(self.unit.read_text().replace("/usr/local/bin/millraced ", f"{BIN}/millraced "))
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn(self.unit.name, done.stderr)

    def test_the_example_configuration_is_one(self):
        service = self.sections["Service"]
        binary, *arguments = shlex.split(service["ExecStart"])
        self.assertEqual(binary, "/usr/local/bin/millraced")
        self.assertEqual(service["ExecStartPre"], f"{service['ExecStart']} --check-config")
        self.assertEqual(arguments, ["--config", "/etc/millrace/millraced.yaml"])
        example = (DEPLOY / "systemd/millraced.yaml").read_text()
        copy = self.place / "millraced.yaml"
        copy.write_text(self.here(example))
        config = self.check_config(["--config", str(copy)], {})
        self.assertEqual((config["broker-id"], len(config["cluster"].split(","))), (1, 3))
        self.assertEqual(yaml.safe_load(example)["data-dir"], f"/var/lib/{service['StateDirectory']}")

    def test_ends_in_order_and_is_not_restarted_on_a_store_that_failed(self):
        service = self.sections["Service"]
        self.assertEqual((service["KillSignal"], service["Restart"]), ("SIGTERM", "on-failure"))
        self.assertGreaterEqual(int(service["TimeoutStopSec"]), 30)
        self.assertEqual(service["RestartPreventExitStatus"].split(), ["2", "3"])


class Docker(WithBroker):
    def test_instructions(self):
        known = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "ENV", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT"}
        self.assertLessEqual({name for name, _ in instructions(ROOT)}, known)
        found = dict(instructions(ROOT))
        self.assertEqual(found["EXPOSE"].split(), [str(DATA_PORT), str(HTTP_PORT)])
        self.assertEqual(found["STOPSIGNAL"], "SIGTERM")
        self.assertNotIn(0, image_user(ROOT))
        self.assertEqual(found["VOLUME"], image(ROOT)[1]["MILLRACE_DATA_DIR"])

    def test_what_is_copied_is_there_and_not_ignored(self):
        kept = {line[1:] for line in (DEPLOY / "docker/Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
        copied = set()
        for name, rest in instructions(ROOT):
            if name == "COPY" and not rest.startswith("--from"):
                copied.update(rest.split()[:-1])
        self.assertEqual(copied, kept)
        for path in copied:
            self.assertTrue((ROOT / path).exists(), path)
        for script in re.findall(r"deploy/[a-z-]+", str([rest for name, rest in instructions(ROOT) if name == "RUN"])):
            self.assertIn(script, copied)

    def test_the_broker_of_the_image(self):
        entry_point, environment = image(ROOT)
        self.assertEqual(entry_point, ["millraced"])
        for name in environment:
            self.assertIn("--" + name.removeprefix("MILLRACE_").lower().replace("_", "-"), FLAGS)
        self.check_config(entry_point[1:], environment)

    def test_health_check_tells_200_from_503(self):
        command = health_check(ROOT)
        for code in (200, 503):
            class Answer(http.server.BaseHTTPRequestHandler):
                def do_GET(self):
                    self.send_response(code if self.path == "/healthz" else 404)
                    self.end_headers()

                def log_message(self, *_):
                    pass

            with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
                threading.Thread(target=server.handle_request).start()
                there = [word.replace(f"/{HTTP_PORT} ", f"/{server.server_port} ") for word in command]
                self.assertNotEqual(there, command)
                self.assertEqual(subprocess.run(there, capture_output=True, check=False).returncode == 0, code == 200)


class Compose(WithBroker):
    SECRET = {"source": str, "uid": str, "gid": str, "mode": int}
    SERVICE = {"image": str, "build": {"context": str, "dockerfile": str}, "command": [str], "secrets": [SECRET], "restart": str,
               "stop_grace_period": str, "ulimits": {"nofile": int}, "hostname": str, "ports": [str], "volumes": [str]}
    SHAPE = {"name": str, "x-broker": SERVICE, "services": {"*": SERVICE}, "secrets": {"*": {"environment": str}},
             "volumes": {"*": None}}

    def setUp(self):
        super().setUp()
        self.file = compose(ROOT)
        fits(self, self.file, self.SHAPE, "compose")

    def test_builds_the_dockerfile(self):
        build = self.file["x-broker"]["build"]
        context = (DEPLOY / "docker" / build["context"]).resolve()
        self.assertEqual(context, ROOT)
        self.assertTrue((context / build["dockerfile"]).exists())

    def test_three_brokers_of_one_cluster(self):
        entry_point, environment = image(ROOT)
        found = {}
        published = []
        for name, service in self.file["services"].items():
            self.assertEqual(service["hostname"], name)
            config = self.check_config(entry_point[1:] + service["command"], environment, service["hostname"])
            found[config["broker-id"]] = config["cluster"]
            published += [port.split(":")[0] for port in service["ports"]]
            self.assertEqual([port.split(":")[1] for port in service["ports"]], [str(DATA_PORT), str(HTTP_PORT)])
            [[volume, path]] = [mount.split(":") for mount in service["volumes"]]
            self.assertIn(volume, self.file["volumes"])
            self.assertEqual(path, environment["MILLRACE_DATA_DIR"])
        self.assertEqual(sorted(found), [1, 2, 3])
        self.assertEqual(len(set(found.values())), 1)
        self.assertEqual(set(self.loopback), set(self.file["services"]))
        self.assertEqual(len(set(published)), 6)
        volumes = [volume for service in self.file["services"].values() for volume in service["volumes"]]
        self.assertEqual(len(set(volumes)), 3)

    def test_the_secret_is_the_broker_users_alone(self):
        user, group = map(str, image_user(ROOT))
        [secret] = self.file["x-broker"]["secrets"]
        self.assertEqual(secret, {"source": "peer-secret", "uid": user, "gid": group, "mode": 0o400})
        self.assertIn(secret["source"], self.file["secrets"])
        self.assertIn(f"/run/secrets/{secret['source']}", self.file["x-broker"]["command"])


class Kubernetes(WithBroker):
    META = {"name": str, "labels": {"*": str}}
    SELECTOR = {"matchLabels": {"*": str}}
    PROBE = {"httpGet": {"path": str, "port": str}, "periodSeconds": int, "timeoutSeconds": int, "failureThreshold": int}
    CONTAINER = {
        "name": str, "image": str, "imagePullPolicy": str, "args": [str],
        "env": [{"name": str, "value": str, "valueFrom": {"fieldRef": {"fieldPath": str}}}],
        "ports": [{"name": str, "containerPort": int}],
        "livenessProbe": PROBE, "readinessProbe": PROBE, "startupProbe": PROBE,
        "resources": {"requests": {"cpu": str, "memory": str}, "limits": {"memory": str}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": [str]}},
        "volumeMounts": [{"name": str, "mountPath": str, "readOnly": bool}],
    }
    POD = {
        "enableServiceLinks": False, "automountServiceAccountToken": False, "terminationGracePeriodSeconds": int,
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": SELECTOR}]}},
        "securityContext": {"runAsNonRoot": True, "runAsUser": int, "runAsGroup": int, "fsGroup": int,
                            "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [CONTAINER],
        "volumes": [{"name": str, "secret": {"secretName": str, "defaultMode": int}}],
    }
    SHAPES = {
        ("v1", "Service"): {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"*": str},
                            "ports": [{"name": str, "port": int, "targetPort": str}]},
        ("policy/v1", "PodDisruptionBudget"): {"maxUnavailable": 1, "selector": SELECTOR},
        ("apps/v1", "StatefulSet"): {
            "serviceName": str, "replicas": int, "podManagementPolicy": "Parallel", "updateStrategy": {"type": "RollingUpdate"},
            "minReadySeconds": int, "selector": SELECTOR, "template": {"metadata": {"labels": {"*": str}}, "spec": POD},
            "volumeClaimTemplates": [{"metadata": {"name": str}, "spec": {"accessModes": [str],
                                                                          "resources": {"requests": {"storage": str}}}}]},
    }

    def setUp(self):
        super().setUp()
        documents = kubernetes(ROOT)
        for document in documents:
            kind = (document["apiVersion"], document["kind"])
            fits(self, document, {"apiVersion": str, "kind": str, "metadata": self.META, "spec": self.SHAPES[kind]}, kind[1])
        self.by_name = {(document["kind"], document["metadata"]["name"]): document["spec"] for document in documents}
        self.set = self.by_name["StatefulSet", "millrace"]
        self.pod = self.set["template"]["spec"]
        [self.container] = self.pod["containers"]

    def test_brokers_can_meet_and_go_one_at_a_time(self):
        headless = self.by_name["Service", self.set["serviceName"]]
        self.assertEqual((headless["clusterIP"], headless["publishNotReadyAddresses"]), ("None", True))
        self.assertEqual(self.set["podManagementPolicy"], "Parallel")
        self.assertFalse(self.pod["enableServiceLinks"])
        self.assertEqual(self.by_name["PodDisruptionBudget", "millrace"]["maxUnavailable"], 1)
        self.assertGreaterEqual(self.pod["terminationGracePeriodSeconds"], 30)
        self.assertIn("podAntiAffinity", self.pod["affinity"])

    def test_selectors_find_the_pods(self):
        labels = self.set["template"]["metadata"]["labels"]
        [anti] = self.pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        for selector in (self.set["selector"], anti["labelSelector"], self.by_name["PodDisruptionBudget", "millrace"]["selector"]):
            self.assertEqual(selector["matchLabels"], labels)
        for (kind, _), spec in self.by_name.items():
            self.assertTrue(kind != "Service" or spec["selector"] == labels)

    def test_ports_agree_with_probes_and_services(self):
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        self.assertEqual(ports, {"data": DATA_PORT, "http": HTTP_PORT})
        probes = {"livenessProbe": "/healthz", "startupProbe": "/healthz", "readinessProbe": "/readyz"}
        for probe, path in probes.items():
            self.assertEqual(self.container[probe]["httpGet"], {"path": path, "port": "http"})
        for (kind, _), spec in self.by_name.items():
            for port in spec["ports"] if kind == "Service" else []:
                self.assertEqual(port["port"], ports[port["targetPort"]])

    def test_volumes_and_the_secret(self):
        mounts = {mount["name"]: mount["mountPath"] for mount in self.container["volumeMounts"]}
        claims = [claim["metadata"]["name"] for claim in self.set["volumeClaimTemplates"]]
        self.assertEqual(sorted(mounts), sorted(claims + [volume["name"] for volume in self.pod["volumes"]]))
        [peer] = self.pod["volumes"]
        self.assertEqual(peer["secret"]["defaultMode"] & 0o007, 0)
        given = self.container["args"][self.container["args"].index("--peer-secret-file") + 1]
        self.assertEqual(Path(given).parent, Path(mounts[peer["name"]]))
        environment = {variable["name"]: variable.get("value") for variable in self.container["env"]}
        self.assertEqual(environment["MILLRACE_DATA_DIR"], mounts["data"])
        security = self.pod["securityContext"]
        self.assertEqual((security["runAsUser"], security["fsGroup"]), image_user(ROOT))

    def test_brokers_of_one_cluster(self):
        _, in_image = image(ROOT)
        service = self.set["serviceName"]
        lists = set()
        for number in range(self.set["replicas"]):  # both names are of the same pod, and so of one address
            for name in (f"millrace-{number}.{service}", f"millrace-{number}.{service}.default.svc"):
                self.loopback[name] = f"127.0.1.{number + 1}"
        for number in range(self.set["replicas"]):
            pod_name = f"millrace-{number}"
            arguments, environment = of_pod(self.container, pod_name, "default", in_image)
            config = self.check_config(arguments, environment, pod_name)
            self.assertEqual(config["broker-id"], number)
            self.assertEqual(config["advertise"], f"127.0.1.{number + 1}:{DATA_PORT}")
            lists.add(config["cluster"])
        members = ",".join(f"{number}@127.0.1.{number + 1}:{DATA_PORT}" for number in range(self.set["replicas"]))
        self.assertEqual(lists, {members})


if __name__ == "__main__":
    os.environ.pop("MILLRACE_SET", None)
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
