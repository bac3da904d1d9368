"""A real broker for tests: on a free port and a temporary directory, ready in a fraction of a second.

    with millrace.testing.Broker() as broker:
        with millrace.connect(broker.address) as m: ...

    @pytest.fixture                                  # in conftest.py
    def broker():
        with millrace.testing.Broker() as broker:
            yield broker

The binary is the one that the environment variable MILLRACED names, or `millraced` on the PATH.

Thread safety: one thread at a time.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, List, Optional, Type


def _end(processes: List["subprocess.Popen[str]"], directory: str) -> None:
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    shutil.rmtree(directory, ignore_errors=True)


class Broker:
    """Runs from its making until close()."""

    def __init__(self, *arguments: str, binary: Optional[str] = None, address: str = "127.0.0.1:0") -> None:
        """arguments: more of millraced's, such as "--set", "retention.ms=1h". address: where it listens; port 0: a free one.
        RuntimeError: it is not there, or does not start."""
        found = binary or os.environ.get("MILLRACED") or shutil.which("millraced")
        if not found:
            raise RuntimeError("there is no millraced: set MILLRACED to the binary's path, or put it on the PATH")
        self._binary = found
        self._arguments = arguments
        self._directory = tempfile.mkdtemp(prefix="millrace-testing-")
        self._processes: List["subprocess.Popen[str]"] = []
        self._finalizer = weakref.finalize(self, _end, self._processes, self._directory)
        self.address = address  # HOST:PORT; stays the same over restart()
        self._start()

    @property
    def log(self) -> str:
        """What the broker wrote to standard error."""
        return (Path(self._directory) / "log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._processes[-1].pid

    def kill(self) -> None:
        """As kill -9."""
        self._stop(signal.SIGKILL)

    def restart(self) -> None:
        """Starts it again, on the same address and data; one that runs is killed before. Back once it is ready."""
        self.kill()
        self._start()

    def pause(self) -> None:
        """It stands still, its connections stay open."""
        self._processes[-1].send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._processes[-1].send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._finalizer()

    def __enter__(self) -> "Broker":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    def _start(self) -> None:
        with open(Path(self._directory) / "log", "ab") as log:
            process: Any = subprocess.Popen(
                [self._binary, "--data-dir", str(Path(self._directory) / "data"), "--listen", self.address, "--http", "127.0.0.1:0",
                 *self._arguments], stdout=subprocess.PIPE, stderr=log, text=True)
        self._processes.append(process)
        ready = process.stdout.readline()
        if not ready.startswith("ready "):
            raise RuntimeError(f"{self._binary} did not start; it said {ready!r}, and in its log: {self.log[-2000:]}")
        self.address = dict(field.split("=", 1) for field in ready.split()[1:])["listen"]

    def _stop(self, number: int) -> None:
        while self._processes:
            process = self._processes.pop()
            process.send_signal(number)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
