#!/usr/bin/env python3
"""Runs a program against a broker of its own: started on an empty directory and free ports, ended in order afterwards.

    with_broker.py MILLRACED PROGRAM [ARGUMENT...]     PROGRAM gets --address HOST:PORT besides its arguments

Exits with the program's status, or 1 when the broker does not start or does not end in order; its log is shown then.
"""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path


def run(millraced, program, directory):
    log_path = Path(directory) / "broker.log"
    with open(log_path, "wb") as log:
        broker = subprocess.Popen(
            [millraced, "--data-dir", f"{directory}/data", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        ready = broker.stdout.readline()
        if not ready.startswith("ready "):
            code = 1
            print(f"the broker did not start; it said: {ready!r}", file=sys.stderr)
        else:
            address = dict(field.split("=", 1) for field in ready.split()[1:])["listen"]
            code = subprocess.run([*program, "--address", address]).returncode
    finally:
        broker.send_signal(signal.SIGTERM)
        broker_code = broker.wait()
    if broker_code != 0:
        print(f"the broker ended with {broker_code} on SIGTERM", file=sys.stderr)
    if code != 0 or broker_code != 0:
        print(f"the broker's log ends with:\n{log_path.read_text(errors='replace')[-8000:]}", file=sys.stderr)
    return code or (1 if broker_code != 0 else 0)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="millrace-foreign-") as scratch:
        sys.exit(run(sys.argv[1], sys.argv[2:], scratch))
