"""A checkout for scripts of deploy/: the real scripts, sample and binaries; packages and the build are stand-ins."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path


class Checkout:
    """With self.path, and self.cmake_log of how cmake was called."""

    def __init__(self, root, binaries):
        self.place = Path(tempfile.mkdtemp(prefix="checkout."))
        self.path = self.place / "checkout"
        shutil.copytree(root / "deploy", self.path / "deploy")
        (self.path / "deploy/install-packages").write_text("#!/bin/sh\n")
        self.bin = self.path / "build/release/bin"
        self.bin.mkdir(parents=True)
        for name in ("millraced", "millrace"):
            shutil.copy(binaries / name, self.bin / name)
        self.cmake_log = self.place / "cmake.log"
        self.cmake_log.touch()
        (self.place / "tools").mkdir()
        cmake = self.place / "tools/cmake"
        cmake.write_text(f"#!/bin/sh\necho \"$*\" >>{self.cmake_log}\n")
        cmake.chmod(0o755)

    def remove(self):
        shutil.rmtree(self.place)

    def run(self, script, *arguments, through=None, timeout=120, **options):
        """Runs a script of deploy/; `through`: another path to the checkout. No variable of ours comes from outside but MILLRACE_SET."""
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("MILLRACE_") or name == "MILLRACE_SET"}
        environment["PATH"] = f"{self.place}/tools:{environment['PATH']}"
        return subprocess.run([(through or self.path) / "deploy" / script, *map(str, arguments)], env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False, **options)


def state_of(pid):
    """As ps has it: R, S, T; an empty string once the process has ended, also while nobody has fetched its exit code."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    state = next(line.split()[1] for line in status.splitlines() if line.startswith("State:"))
    return "" if state in "ZX" else state
