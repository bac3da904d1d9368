"""Containers where no engine is at hand. Each has namespaces of its own (network, host name, processes, mounts) and a root
directory with /usr, the binaries and what is mounted; its first process is the command. Their machine is this process, in
namespaces of its own as well: all of it goes with that, however it ends.

    enter()                                             # runs the program anew within them; exit code 77 where that is not allowed
    machine = Machine(BIN)
    broker = Container(machine, "a", ["millraced", ...], environment={...}, user=(10001, 10001))
    machine.names["a.example.net"] = broker.address     # of the name service that containers ask
    machine.forward("127.0.0.1", 9480, broker.address, 9470)
    broker.execute("millrace", "cluster", "status")
    exit_code = broker.stop(seconds=60)                 # one that is started after it has another address

Not as an engine has it: limits of memory, files and system calls. Needs root, and `ip` and `nft`.
"""

import itertools
import os
import shlex
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

DEADLINE_SECONDS = 60  # of a command in a container
INSIDE = "ENTERED_CONTAINERS"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # as engines set it
ENTRANCE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
# What is needed besides; the last line that is shown is the one that was refused.
TRIAL = """
mount -t tmpfs none /run
ip link set lo up
ip netns add trial
ip link add trial type veth peer name eth0 netns trial
nft add table ip trial
unshare --uts --pid --ipc --fork hostname trial
setpriv --reuid 10001 --regid 10001 --clear-groups --bounding-set=-all true
"""


def enter():
    if os.environ.get(INSIDE) == "yes":
        return
    try:
        tried = subprocess.run([*ENTRANCE, "sh", "-exc", TRIAL], capture_output=True, text=True, check=False)
        refused = tried.stderr if tried.returncode else ""
    except FileNotFoundError as missing:
        refused = str(missing)
    if refused:
        print(f"SKIPPED, no broker was started: needs root, ip, nft and namespaces. Refused here:\n{refused}", file=sys.stderr)
        sys.exit(77)
    os.environ[INSIDE] = "yes"
    os.execvp(ENTRANCE[0], [*ENTRANCE, *sys.orig_argv])


def run(*words, text="", shown=None):
    """Returns what the command writes. `shown`: instead of the command if it fails."""
    words = [str(word) for word in words]
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{shown or shlex.join(words)}: exit code {done.returncode}\n{text}{done.stdout}{done.stderr}")
    return done.stdout


def answer(query, names):
    """Of a name service that knows these and no others: RFC 1035, one question."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    kind, = struct.unpack_from("!H", query, at + 1)
    address = names.get(".".join(labels).lower())
    found = address is not None and kind == 1  # A
    flags = 0x8180 | (0 if address else 3)  # no such name
    header = query[:2] + struct.pack("!5H", flags, 1, found, 0, 0)
    record = struct.pack("!3HIH", 0xC00C, 1, 1, 5, 4) + socket.inet_aton(address) if found else b""
    return header + query[12:at + 5] + record


class Machine:
    """names: what the name service tells containers; each change holds at once."""

    def __init__(self, binaries):
        self.binaries = binaries
        self.names = {}
        self.numbers = itertools.count(1)
        run("mount", "-t", "tmpfs", "none", "/run")
        self.place = Path("/run/containers")
        self.place.mkdir()
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        Path("/proc/sys/net/ipv4/conf/all/route_localnet").write_text("1")  # also what is sent to 127.0.0.1
        # What is sent to a container that is gone is lost without a word.
        run("ip", "-batch", "-", text="link set lo up\nroute add blackhole 10.77.0.0/16\n")
        run("nft", "-f", "-", text="""
            table ip forwarded {
              chain here { type nat hook output priority -100; }
              chain from_containers { type nat hook prerouting priority dstnat; }
              chain back { type nat hook postrouting priority srcnat; ip saddr 127.0.0.1 oifname "to*" masquerade; }
            }""")
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("", 53))
        threading.Thread(target=self.serve_names, args=(server,), daemon=True).start()

    def serve_names(self, server):
        while True:
            query, sender = server.recvfrom(512)
            server.sendto(answer(query, self.names), sender)

    def forward(self, address, port, to, to_port):
        """Who connects to address:port, here or from a container, is connected to to:to_port, whatever was said of it earlier."""
        rule = f"ip daddr {address} tcp dport {port} dnat to {to}:{to_port}"
        run("nft", "-f", "-", text=f"insert rule ip forwarded here {rule}\ninsert rule ip forwarded from_containers {rule}\n")


class Container:
    """`mounts`: path in it -> path of the machine; `resolver`: lines of resolv.conf."""

    def __init__(self, machine, name, command, environment, user, groups=(), mounts=None, read_only_root=False, resolver=""):
        number = next(machine.numbers)
        self.gateway, self.address = f"10.77.{number}.1", f"10.77.{number}.2"
        self.name = name
        self.network = f"{name}-{number}"
        self.log = machine.place / f"{self.network}.log"  # what the command writes
        uid, gid = user
        self.as_user = ["setpriv", f"--reuid={uid}", f"--regid={gid}", f"--groups={','.join(map(str, [gid, *groups]))}",
                        "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs",
                        "env", "-i", f"PATH={PATH}", f"HOSTNAME={name}", *(f"{key}={value}" for key, value in environment.items())]
        self.lay_cable(number)
        root = machine.place / self.network
        script = [["hostname", name], *self.mount(root, machine, resolver, mounts or {})]
        if read_only_root:
            script.append(["mount", "-o", "remount,bind,ro", root])
        script.append(["exec", "chroot", root, *self.as_user, *command])
        self.engine = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.network}",
             "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child",
             "sh", "-ec", "\n".join([f"exec 3>&1 >{self.log} 2>&1; echo begun >&3; exec 3>&-",
                                     *(shlex.join(map(str, line)) for line in script)])],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = self.engine.stdout.readline()
        if said != "begun\n":
            raise AssertionError(f"{name} does not begin: {said}")
        child = Path(f"/proc/{self.engine.pid}/task/{self.engine.pid}/children").read_text()
        if not child:
            raise AssertionError(f"{name} has ended at once: {self.log.read_text()}")
        self.pid = int(child)

    def lay_cable(self, number):
        run("ip", "-batch", "-", text=f"""
            netns add {self.network}
            link add to{number} type veth peer name eth0 netns {self.network}
            addr add {self.gateway}/24 dev to{number}
            link set to{number} up""")
        run("ip", "-n", self.network, "-batch", "-", text=f"""
            link set lo up
            addr add {self.address}/24 dev eth0
            link set eth0 up
            route add default via {self.gateway}""")

    def mount(self, root, machine, resolver, mounts):
        """Makes the directories; returns the commands that mount what is in them."""
        mounts = {"/usr": "/usr", "/usr/local/bin": machine.binaries, "/dev": "/dev"} | mounts
        for path in ("/proc", "/tmp", "/etc", *mounts):
            if not path.startswith("/usr/"):
                (root / path[1:]).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        for link in ("bin", "lib", "lib64", "sbin"):
            (root / link).symlink_to(f"usr/{link}")
        (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
        (root / "etc/resolv.conf").write_text(f"nameserver {self.gateway}\n{resolver}")
        (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        # A mount of its own, which can be made read-only.
        return [["mount", "--bind", root, root], ["mount", "-t", "proc", "proc", root / "proc"],
                *(["mount", "--rbind", source, root / path[1:]] for path, source in mounts.items())]

    def execute(self, *command, text=""):
        """Runs a command in it, with its user and environment; returns what it writes."""
        return run(*self.within(command), text=text, shown=f"{self.name}$ {shlex.join(command)}")

    def succeeds(self, *command):
        return subprocess.run(self.within(command), capture_output=True, check=False).returncode == 0

    def within(self, command):
        return ["nsenter", f"--target={self.pid}", "--all", "--root", "--wd=/", "timeout", str(DEADLINE_SECONDS),
                *self.as_user, *command]

    def ends_within(self, seconds):
        try:
            self.engine.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self):
        self.end(signal.SIGKILL, DEADLINE_SECONDS)

    def stop(self, seconds):
        """SIGTERM, and SIGKILL after so many seconds; returns the exit code, negative if a signal ended it."""
        return self.end(signal.SIGTERM, seconds)

    def end(self, how, seconds):
        self.send(how)
        in_time = self.ends_within(seconds)
        if not in_time:
            self.send(signal.SIGKILL)
        code = self.engine.wait()
        self.engine.stdout.close()
        run("ip", "netns", "delete", self.network)
        return code if in_time else -signal.SIGKILL

    def send(self, how):
        try:
            os.kill(self.pid, how)
        except ProcessLookupError:
            pass  # it has ended by itself
