"""What the benchmarks ask of the machine: CPU of processes, bytes that reached the disk, a page cache that is in use."""
import os
import platform
import shutil
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
MEMORY_DIRECTORY = "/dev/shm"


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid):
    line = next(line for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1000


def meminfo_bytes(name):
    line = next(line for line in open("/proc/meminfo") if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def memory_for_files():
    """What MEMORY_DIRECTORY can still take: what it may, and what the machine has. 0 where it is not in memory."""
    if not os.path.isdir(MEMORY_DIRECTORY) or filesystem_of(MEMORY_DIRECTORY) != "tmpfs":
        return 0
    return min(shutil.disk_usage(MEMORY_DIRECTORY).free, meminfo_bytes("MemAvailable"))


def filesystem_of(path):
    return subprocess.run(["stat", "-f", "-c", "%T", path], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def device_bytes_written(path):
    """By the block device that holds `path`; what is still in the page cache is written first."""
    os.sync()
    device = os.stat(path).st_dev
    for line in open("/proc/diskstats"):
        fields = line.split()
        if (int(fields[0]), int(fields[1])) == (os.major(device), os.minor(device)):
            return int(fields[9]) * 512
    return None


class PageCache:
    """Keeps the page cache full. Pages that a virtual machine has not used before, or has given back to its host, cost several
    times more than those of a machine that has been running for a day. A file without blocks fills them: it takes no disk."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "page-cache")
        total = meminfo_bytes("MemTotal")
        with open(self.path, "wb") as file:
            file.truncate(int(total * 0.9))

    def fill(self):
        with open(self.path, "rb", buffering=0) as file:
            while file.read(8 * MIB):
                pass

    def close(self):
        os.remove(self.path)


def sequential_write_mb_per_s(directory, megabytes=4000):
    path = os.path.join(directory, "sequential")
    block = os.urandom(MIB)
    begin = time.monotonic()
    with open(path, "wb", buffering=0) as file:
        for _ in range(megabytes):
            file.write(block)
        os.fdatasync(file.fileno())
    rate = megabytes * MIB / 1e6 / (time.monotonic() - begin)
    os.remove(path)
    return rate


def describe(directory):
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return {"cores": os.cpu_count(), "cpu": model, "memory_gb": round(meminfo_bytes("MemTotal") / 1e9, 1),
            "kernel": platform.release(), "filesystem": filesystem_of(directory)}
