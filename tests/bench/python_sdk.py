#!/usr/bin/env python3
"""Records a second that one Python process produces and consumes.

    PYTHONPATH=build/tests/python/package python_sdk.py [--address HOST:PORT] [--records N] [--record-size B] [--keys N]

Without --address a broker of its own is started (millrace.testing: MILLRACED, or PATH). Prints one line of JSON, with the fields
of `millrace bench`.
"""

import argparse
import json
import sys
import time

del sys.path[0]  # this folder has a millrace.py of its own
import millrace
import millrace.testing


def figures(records, size, seconds, cpu_seconds):
    return {"records": records, "bytes": records * size, "seconds": round(seconds, 3), "records_per_second": round(records / seconds),
            "megabytes_per_second": round(records * size / seconds / 1e6, 1), "client_cpu_seconds": round(cpu_seconds, 3)}


def timed(work):
    started, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - cpu


def run(address, options):
    topic = f"python-sdk-{time.time_ns()}"
    value = b"x" * options.record_size
    keys = [b"key-%d" % (i % options.keys) for i in range(options.records)] if options.keys else [None] * options.records
    with millrace.connect(address) as m:
        m.declare(topic, partitions=options.partitions)

        def produce():
            send = m.send
            for key in keys:
                send(topic, value, key=key)
            m.flush()

        def consume():
            count = sum(1 for _ in m.consume(topic, until=millrace.Position.end()))
            assert count == options.records, count

        return {name: figures(options.records, options.record_size, *timed(work)) for name, work in
                (("produce", produce), ("consume", consume))}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--address")
    arguments.add_argument("--records", type=int, default=1_000_000)
    arguments.add_argument("--record-size", type=int, default=100)
    arguments.add_argument("--partitions", type=int, default=4)
    arguments.add_argument("--keys", type=int, default=0, help="0: records without key")
    options = arguments.parse_args()
    if options.address:
        print(json.dumps(run(options.address, options)))
        return
    with millrace.testing.Broker() as broker:
        print(json.dumps(run(broker.address, options)))


if __name__ == "__main__":
    main()
