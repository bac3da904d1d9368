#!/usr/bin/env python3
"""Plants one violation of each rule in a small tree and checks that layering.py finds that one and no other."""

import json
import tempfile
import unittest
from pathlib import Path

import layering

CLEAN = {
    ".gitignore": "/build/\n",
    "build/junk.cc": "#include <rocksdb/db.h>\n",
    "CMakeLists.txt": "",
    "README.md": "",
    "LICENSE": "",
    "CMakePresets.json": "{}",
    "client/include/millrace/producer.h": "#include <string>\n#include <millrace/record.h>\n#include \"absl/status/status.h\"\n",
    "client/producer.cc": "#include <millrace/producer.h>\n#include \"proto/wire/frames.h\"\n",
    "client/control.cc": "#include \"millrace/v1/broker.pb.h\"\n",
    "proto/wire/frames.cc": "#include \"proto/wire/frames.h\"\n#include <lz4frame.h>\n",
    "proto/transport/loop.h": "#include <grpcpp/completion_queue.h>\n",
    "raft/types.h": "#include <compare>\n#include \"absl/strings/cord.h\"\n",
    "server/rpc_server.cc": "#include <grpcpp/grpcpp.h>\n#include \"storage/store.h\"\n#include \"raft/types.h\"\n",
    "server/health_service.cc": "#include \"grpc/health/v1/health.pb.h\"\n",
    "storage/store.cc": "#include <rocksdb/db.h>\n#include \"raft/log_store.h\"\n#include <sys/stat.h>\n",
    "tests/server/x_test.cc": "#include <grpcpp/grpcpp.h>\n#include \"client/producer.h\"\n",
    "deploy/quickstart": "sleep 1\n",
} | {f"{folder}/README.md": "" for folder in layering.TOP_FOLDERS}

# What is planted (added to the file's end, or a new file) -> a piece of the sentence that must be reported.
PLANTED = [
    ("raft/types.h", '#include "storage/store.h"', "raft/ may not include storage/store.h"),
    ("raft/types.h", "#include <thread>", "no I/O, clock, thread"),
    ("raft/types.h", "#include <sys/stat.h>", "only the standard library and abseil"),
    ("raft/types.h", '#include "millrace/v1/record.pb.h"', "without generated protobuf code"),
    ("proto/wire/frames.cc", '#include "raft/types.h"', "proto/wire/ may not include"),
    ("proto/wire/frames.cc", '#include "proto/transport/loop.h"', "proto/wire/ may not include"),
    ("proto/wire/frames.cc", '#include "millrace/v1/record.pb.h"', "without generated protobuf code"),
    ("proto/wire/frames.cc", "#include <google/protobuf/message.h>", "protobuf's own headers"),
    ("proto/transport/loop.h", '#include "server/rpc_server.h"', "proto/transport/ may not include"),
    ("storage/store.cc", '#include "server/rpc_server.h"', "storage/ may not include"),
    ("storage/store.cc", '#include "proto/transport/loop.h"', "storage/ may not include"),
    ("storage/store.cc", "#include <grpcpp/grpcpp.h>", "gRPC stays inside"),
    ("storage/store.cc", "#include <raft/types.h>", "with quotes"),
    ("server/partition.cc", "#include <rocksdb/db.h>", "RocksDB stays inside"),
    ("server/partition.cc", "#include <grpcpp/grpcpp.h>", "gRPC stays inside"),
    ("server/health_service.cc", "#include <grpc/grpc.h>", "gRPC stays inside"),
    ("storage/store.cc", '#include "grpc/health/v1/health.pb.h"', "without generated protobuf code"),
    ("server/config.h", "#include <yaml-cpp/yaml.h>", "heavy header"),
    ("server/rpc_server.cc", '#include "client/producer.h"', "server/ may not include"),
    ("client/producer.cc", '#include "server/rpc_server.h"', "client/ may not include"),
    ("client/producer.cc", '#include "storage/store.h"', "client/ may not include"),
    ("client/producer.cc", '#include "raft/types.h"', "client/ may not include"),
    ("client/producer.cc", "#include <grpcpp/grpcpp.h>", "gRPC stays inside"),
    ("client/include/millrace/producer.h", '#include "proto/wire/frames.h"', "client/include/ may not include"),
    ("client/include/millrace/producer.h", "#include <lz4.h>", "only the standard library and abseil"),
    ("client/include/millrace/producer.h", "#include <millrace/v1/record.pb.h>", "without generated protobuf code"),
    ("client/examples/tail.cc", '#include "client/producer.h"', "client/examples/ may not include"),
    ("scripts/helper.sh", "true", "not one of the top level's fixed entries"),
    ("server/long.cc", "\n" * layering.LINES_MAX, "lines; below"),
    ("server/unfinished.cc", "// TO" + "DO: later", "leftover marker"),
    ("server/partition.cc", "auto now = std::chrono::steady_clock::now();", "come in through the constructor"),
    ("raft/types.h", "inline int Draw() { return rand(); }", "come in through the constructor"),
    ("tests/server/x_test.cc", "std::this_thread::sleep_" + "for(1s);", "a test sleeps"),
]


def plant(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as out:
            out.write(text + "\n")


class Layering(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)
        plant(self.root, CLEAN)

    def test_clean_tree_passes(self):
        self.assertEqual(layering.check_tree(self.root), [])

    def test_each_planted_violation_is_found_alone(self):
        for name, text, sentence in PLANTED:
            with self.subTest(file=name, planted=text.strip()), tempfile.TemporaryDirectory() as scratch:
                root = Path(scratch)
                plant(root, CLEAN)
                plant(root, {name: text})
                found = layering.check_tree(root)
                self.assertEqual(len(found), 1, found)
                self.assertIn(name.split("/")[0], found[0])
                self.assertIn(sentence, found[0])

    def test_folder_without_readme_is_found(self):
        (self.root / "raft/README.md").unlink()
        found = layering.check_tree(self.root)
        self.assertEqual(len(found), 1, found)
        self.assertIn("raft/README.md: missing", found[0])

    def test_source_that_no_target_builds_is_found(self):
        sources = [str(p) for p in self.root.rglob("*.cc") if "build" not in p.parts and p.name != "x_test.cc"]
        commands = self.root / "build/compile_commands.json"
        commands.write_text(json.dumps([{"directory": str(self.root), "file": source} for source in sources]))
        self.assertEqual(layering.check_tree(self.root, commands), ["tests/server/x_test.cc: no target builds it"])


if __name__ == "__main__":
    unittest.main()
