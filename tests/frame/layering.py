#!/usr/bin/env python3
"""The shape of the tree: which folder may include what, and what may lie where.

    layering.py ROOT [--compile-commands FILE]

Prints one line for each violation, `path:line: what is wrong`, and exits 1 if there are any. With --compile-commands (of a
full build) it also finds sources that no target builds. The rules are the tables below; a new folder or a new dependency is
a change of these tables, to be argued for.
"""

import argparse
import json
import re
import sys
from pathlib import Path

TOP_LEVEL = {"CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md",
             "client", "deploy", "proto", "raft", "server", "storage", "tests"}
TOP_FOLDERS = ("client", "deploy", "proto", "raft", "server", "storage", "tests")
LINES_MAX = 800
SOURCE_SUFFIXES = {".cc", ".h", ".proto", ".py", ".go", ".sh", ".cmake"}

# Folder (the longest prefix counts) -> the folders of ours that it may include.
INCLUDE_LAW = {
    "proto/wire": ("proto/wire",),
    "proto/transport": ("proto/wire", "proto/transport", "millrace/"),
    "raft": ("raft", "proto/wire/check.h"),
    "storage": ("storage", "raft", "proto/wire"),
    "server": ("server", "storage", "raft", "proto", "millrace/"),
    "client": ("client", "proto", "millrace/"),
    "client/include": ("millrace/",),
    "client/examples": ("millrace/",),
    "tests": ("",),
}
OUR_FOLDERS = ("client/", "proto/", "raft/", "server/", "storage/", "tests/", "deploy/", "millrace/")

# Generated protobuf code, by its header's name. What handles records on the hot path does without.
GENERATED_HEADER = re.compile(r"^(millrace|grpc)/.*\.pb\.h$")
GENERATED_ALLOWED = re.compile(r"^(server|client(?!/include/|/examples/)|proto/transport|tests)/")

# Third-party headers with their own home: pattern of the header -> pattern of the files that may include it.
HEADER_HOMES = (
    (re.compile(r"^rocksdb/"), re.compile(r"^(storage|tests)/"), "RocksDB stays inside storage/"),
    (re.compile(r"^(grpc|grpcpp|grpc\+\+)/(?!.*\.pb\.h$)"),
     re.compile(r"^(proto/transport/|server/[^/]*(grpc|rpc)[^/]*$|tests/)"),
     "gRPC stays inside proto/transport/, server/*grpc* and server/*rpc*"),
    (re.compile(r"^google/protobuf/"), re.compile(r"^(server|client|proto/transport|tests)/"),
     "protobuf's own headers stay out of storage/, raft/ and proto/wire/"),
    (re.compile(r"^(CLI|nlohmann|openssl|yaml-cpp|prometheus)/|^microhttpd\.h$"), re.compile(r"\.cc$|^client/cli/|^tests/"),
     "a heavy header stays out of our headers"),
)

# Where only the standard library (minus I/O, clocks, threads and randomness for raft) and abseil may be included.
STD_AND_ABSEIL_ONLY = ("raft", "client/include", "client/examples")
STANDARD_HEADER = re.compile(r"^[a-z_0-9]+$")
NOT_IN_RAFT = {"chrono", "condition_variable", "filesystem", "fstream", "future", "iostream", "mutex", "random", "semaphore",
               "shared_mutex", "thread"}

# The logic of broker and client is given its clock and randomness, so that a simulation can drive it. These are the files that
# give them (or stand outside that logic: logs, the blocking face of the SDK, the command line, how long a sync took).
CLOCK_OR_CHANCE = re.compile(r"\b(system_clock|steady_clock|high_resolution_clock)::now|absl::Now\(|random_device|BitGen|"
                             r"\b(rand|clock_gettime|gettimeofday|getrandom)\(")
CLOCK_OR_CHANCE_ALLOWED = re.compile(r"^(proto/transport/|server/(log|server|rpc_server)\.cc$|"
                                     r"client/(producer|consumer|runtime)\.cc$|client/cli/|client/examples/|"
                                     r"storage/rocks_|tests/)")

# Tests wait for events, never for time to pass.
# These two are spelled apart so that this file passes its own test.
SLEEP = re.compile(r"\b(" + "|".join(("sleep" + "_for", "sleep" + "_until", "Sleep" + "For", "u" + "sleep", "nano" + "sleep",
                                      r"time\." + "sleep", r"time\." + "Sleep")) + r")\b")
MARKER = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')

# Programs that tests build by themselves, outside this tree.
BUILT_ELSEWHERE = ("tests/frame/install/", "tests/frame/raft_alone/")


def ignored_names(root):
    """Top-level names that .gitignore sets apart."""
    gitignore = root / ".gitignore"
    lines = gitignore.read_text().splitlines() if gitignore.exists() else []
    return {line.strip().strip("/") for line in lines if line.strip()}


def files_of(root, ignored):
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if parts[0].startswith(".") or parts[0] in ignored or "__pycache__" in parts or not path.is_file():
            continue
        yield path


def is_source(path):
    return path.suffix in SOURCE_SUFFIXES or path.name == "CMakeLists.txt"


def law_of(name):
    homes = [folder for folder in INCLUDE_LAW if name.startswith(folder + "/")]
    return max(homes, key=len) if homes else None


def include_violation(name, header):
    """What is wrong with file `name` including `header`, or None."""
    home = law_of(name)
    if home is None:
        return None
    if GENERATED_HEADER.match(header) and not GENERATED_ALLOWED.match(name):
        return f"{home}/ does without generated protobuf code: {header}"
    if header.startswith(OUR_FOLDERS):
        if not header.startswith(INCLUDE_LAW[home]):
            return f"{home}/ may not include {header}"
        return None
    for pattern, allowed, sentence in HEADER_HOMES:
        if pattern.search(header) and not allowed.search(name):
            return f"{sentence}: {header}"
    if home in STD_AND_ABSEIL_ONLY and not (STANDARD_HEADER.match(header) or header.startswith("absl/")):
        return f"{home}/ includes only the standard library and abseil: {header}"
    if home == "raft" and header in NOT_IN_RAFT:
        return f"raft/ has no I/O, clock, thread or randomness of its own: {header}"
    return None


def check_file(name, text):
    """Violations within one file, as (line number, sentence)."""
    lines = text.splitlines()
    if len(lines) >= LINES_MAX:
        yield len(lines), f"{len(lines)} lines; below {LINES_MAX} it can be read in one sitting"
    for number, line in enumerate(lines, start=1):
        if MARKER.search(line):
            yield number, "leftover marker: finish it, or say in words what is not there"
        # Benchmarks send at a rate.
        if name.startswith("tests/") and not name.startswith("tests/bench/") and SLEEP.search(line):
            yield number, "a test sleeps: wait for the event instead"
        if name.endswith((".cc", ".h")) and CLOCK_OR_CHANCE.search(line) and not CLOCK_OR_CHANCE_ALLOWED.search(name):
            yield number, "clock and randomness come in through the constructor (proto/wire/runtime.h)"
        match = INCLUDE.match(line) if name.endswith((".cc", ".h")) else None
        if match:
            sentence = include_violation(name, match.group(2))
            if sentence:
                yield number, sentence
            elif match.group(1) == "<" and match.group(2).startswith(OUR_FOLDERS) and "/include/" not in name \
                    and not match.group(2).startswith("millrace/"):
                yield number, "our own headers are included with quotes, from the repository's root"


def check_tree(root, compile_commands=None):
    """All violations, as strings."""
    ignored = ignored_names(root)
    found = []
    for entry in sorted(root.iterdir()):
        if not entry.name.startswith(".") and entry.name not in TOP_LEVEL | ignored:
            found.append(f"{entry.name}: not one of the top level's fixed entries")
    for folder in TOP_FOLDERS:
        if not (root / folder / "README.md").exists():
            found.append(f"{folder}/README.md: missing; what is this folder for, what does it promise, where does one start?")

    built = None
    if compile_commands:
        built = {str(Path(entry["directory"], entry["file"]).resolve()) for entry in json.loads(compile_commands.read_text())}
    for path in files_of(root, ignored):
        name = path.relative_to(root).as_posix()
        if is_source(path):
            found += [f"{name}:{number}: {sentence}" for number, sentence in check_file(name, path.read_text())]
        if path.suffix == ".cc" and built is not None and not name.startswith(BUILT_ELSEWHERE) \
                and str(path.resolve()) not in built:
            found.append(f"{name}: no target builds it")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--compile-commands", type=Path)
    arguments = parser.parse_args()
    found = check_tree(arguments.root.resolve(), arguments.compile_commands)
    for violation in found:
        print(violation)
    print(f"{len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
