"""A broker of its own and ways to call millrace, for the tests of this folder: TEST.py MILLRACE MILLRACED [TEST...]"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

MILLRACE, MILLRACED = sys.argv[1:3]
DEADLINE_S = 120  # of any one call: ends what hangs, asserts nothing
NOBODY = "127.0.0.1:1"  # nothing listens there


class Broker:
    """millraced on free ports, with its data in a directory that goes with it."""

    def __init__(self, millraced, *arguments):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="millrace-cli-"))
        with open(self.directory / "log", "wb") as log:
            self.process = subprocess.Popen(
                [millraced, "--data-dir", self.directory / "data", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", *arguments],
                stdout=subprocess.PIPE, stderr=log, env=clean_environment())
        ready = self.process.stdout.readline().decode()
        fields = dict(word.split("=", 1) for word in ready.split() if "=" in word)
        if "listen" not in fields:
            raise RuntimeError(f"millraced did not start: {ready!r}\n{(self.directory / 'log').read_text()}")
        self.address = fields["listen"]

    def stop(self):
        self.process.terminate()  # nothing happens to one that is gone already: its code tells
        code = self.process.wait(DEADLINE_S)
        self.process.stdout.close()
        log = (self.directory / "log").read_text()
        shutil.rmtree(self.directory)
        if code != 0:
            raise RuntimeError(f"millraced ended with {code}\n{log[-4000:]}")

    def kill(self):
        """As a crash: nothing is finished."""
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self.process.stdout.close()
        shutil.rmtree(self.directory)


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err.decode()

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def error(self):
        """The error document: the last line of standard error."""
        return json.loads(self.err.strip().splitlines()[-1])

    @property
    def lines(self):
        return self.out.split(b"\n")[:-1]


def clean_environment(**added):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
    return {**kept, **added}


class Millrace:
    def __init__(self, binary, address):
        self.binary, self.address = binary, address

    def start(self, *arguments, env=None, **options):
        command = [self.binary, *map(str, arguments)]
        environment = clean_environment(MILLRACE_ADDRESS=self.address, **(env or {}))
        return subprocess.Popen(command, env=environment, stdin=options.pop("stdin", subprocess.PIPE), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **options)

    def __call__(self, *arguments, stdin=b"", env=None):
        process = self.start(*arguments, env=env)
        try:
            out, err = process.communicate(stdin, timeout=DEADLINE_S)
        finally:
            process.kill()
        return Result(process.returncode, out, err)

    def json(self, *arguments, **options):
        return self(*arguments, "--output", "json", **options).json


def interrupt(process):
    """Ctrl-C. Returns what the process had to say."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE_S)
    return Result(process.returncode, out, err)


class WithBroker(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(MILLRACED)
        cls.millrace = Millrace(MILLRACE, cls.broker.address)

    @classmethod
    def tearDownClass(cls):
        cls.broker.stop()

    def ok(self, *arguments, **options):
        result = self.millrace(*arguments, **options)
        self.assertEqual(result.code, 0, f"{arguments}: {result.err}")
        return result

    def fails(self, code, *arguments, **options):
        result = self.millrace(*arguments, **options)
        self.assertEqual(result.code, code, f"{arguments}: {result.out} {result.err}")
        return result

    def topic(self, *flags):
        """A new topic of this test."""
        WithBroker.topics = getattr(WithBroker, "topics", 0) + 1
        name = f"{self.id().rsplit('.', 1)[1]}-{WithBroker.topics}"
        self.ok("topic", "create", name, *flags)
        return name

    def consume(self, topic, *flags):
        return self.ok("consume", topic, *flags).out

    def records(self, topic, *flags):
        return [json.loads(line) for line in self.ok("consume", topic, "--output", "json", *flags).lines]
