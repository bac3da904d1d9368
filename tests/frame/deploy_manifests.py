"""What the files of deploy/ for Docker and Kubernetes say, as their engines read them."""

import itertools
import json
import re
import shlex

import yaml


def instructions(root):
    """The Dockerfile as (instruction, rest)."""
    lines = (line for line in (root / "deploy/docker/Dockerfile").read_text().splitlines() if not line.startswith("#"))
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def image(root):
    """What the image gives to the broker: arguments, environment."""
    last_stage = list(itertools.takewhile(lambda pair: pair[0] != "FROM", reversed(instructions(root))))
    [entry_point] = [json.loads(rest) for name, rest in last_stage if name == "ENTRYPOINT"]
    [environment] = [dict(pair.split("=", 1) for pair in shlex.split(rest)) for name, rest in last_stage if name == "ENV"]
    return entry_point, environment


def image_user(root):
    """Its user and group."""
    user, group = dict(instructions(root))["USER"].split(":")
    return int(user), int(group)


def health_check(root):
    [check] = [rest for name, rest in instructions(root) if name == "HEALTHCHECK"]
    return json.loads(check[check.index("CMD") + len("CMD"):])


def compose(root):
    return yaml.safe_load((root / "deploy/docker/compose.yaml").read_text())


def kubernetes(root):
    return list(yaml.safe_load_all((root / "deploy/kubernetes/millrace.yaml").read_text()))


def of_pod(container, name, namespace, in_image):
    """A container of the pod of this name: arguments, environment."""
    fields = {"metadata.name": name, "metadata.namespace": namespace}
    own = {variable["name"]: variable.get("value") or fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
           for variable in container["env"]}
    # Only from these: what the image sets is not known yet when the engine does it.
    arguments = [re.sub(r"\$\((\w+)\)", lambda match: own.get(match.group(1), match.group()), word) for word in container["args"]]
    return arguments, in_image | own
