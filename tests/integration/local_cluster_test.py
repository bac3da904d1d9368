#!/usr/bin/env python3
"""Three brokers of deploy/local-cluster, from nothing to the end of its demonstration, in a checkout of its own.

    local_cluster_test.py --bin DIR [--seconds S] [--seed X]
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests/frame"))
from checkout import Checkout  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=6)
    arguments = parser.parse_args()
    checkout = Checkout(ROOT, arguments.bin.resolve())

    def script(*words):
        result = checkout.run("local-cluster", *words, timeout=None)
        print(result.stdout, end="", flush=True)
        if result.returncode != 0:
            sys.exit(f"local-cluster {' '.join(map(str, words))}: exit {result.returncode}\n{result.stderr}\n"
                     f"left for a look: {checkout.path}")
        return result.stdout

    try:
        script("up")
        script("status")
        said = script("demo", "--seconds", arguments.seconds, "--seed", arguments.seed)
        if "48 of 48 replicas gave the same as leader of their partition" not in said:
            sys.exit("the demonstration did not read each partition from each of its replicas as leader")
        if "48 copies of 16 partitions: equal digests" not in said:
            sys.exit("the demonstration did not compare three copies of each partition")
        script("groups", "--seconds", arguments.seconds, "--seed", arguments.seed)
        script("status")
        script("down")
    finally:
        checkout.run("local-cluster", "down")
    checkout.remove()


if __name__ == "__main__":
    main()
