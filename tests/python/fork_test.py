"""After a fork a client works or raises; it never hangs. Each case is a program of its own, as gRPC is used once in a process."""

import subprocess
import sys

import harness

_PROGRAM = """
import os, sys, multiprocessing
import millrace
address, topic = sys.argv[1:]

def in_child(function):
    pid = os.fork()
    if pid == 0:
        function()
        sys.exit(0)     # in order, with all that Python does at the end
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def refused(function):
    try:
        function()
    except millrace.MillraceError as error:
        assert "after the fork" in error.message, error
    else:
        raise AssertionError("it was not refused")
"""

_USED = """
producer, consumer, admin = millrace.Producer(address), millrace.Consumer(address), millrace.Admin(address)
producer.send(topic, b"parent").result()
consumer.assign([topic])
admin.list_topics()

def child():
    for function in (lambda: producer.send(topic, b"child"), producer.flush, lambda: consumer.poll(1), admin.list_topics,
                     lambda: millrace.Producer(address).send(topic, b"new"), lambda: millrace.Admin(address).list_topics()):
        refused(function)
    producer.close(), consumer.close(), admin.close()

assert in_child(child) == 0
worker = multiprocessing.get_context("fork").Process(target=child)
worker.start(); worker.join()
assert worker.exitcode == 0
assert producer.send(topic, b"parent").result().offset == 1     # the parent goes on
assert next(iter(consumer)).value == b"parent"
producer.close(), consumer.close(), admin.close()
"""

_MADE_BEFORE = """
m = millrace.connect(address)       # as gunicorn's preload does
for expected in range(2):
    assert in_child(lambda: m.send(topic, b"child").result()) == 0
assert m.send(topic, b"parent").result().offset == 2
m.close()
"""


_LEFT_OPEN = """
producer, consumer, admin = millrace.Producer(address), millrace.Consumer(address), millrace.Admin(address)
producer.send(topic, b"v").result()
consumer.assign([topic])
next(iter(consumer))
admin.list_topics()
"""


class Fork(harness.BrokerTest):
    def run_program(self, body):
        ended = subprocess.run([sys.executable, "-c", _PROGRAM + body, self.broker.address, self.topic()], timeout=60, text=True,
                               capture_output=True)
        self.assertEqual(ended.returncode, 0, ended.stderr)

    def test_clients_that_were_used_raise_in_the_child(self):
        self.run_program(_USED)

    def test_a_program_may_end_without_closing(self):
        self.run_program(_LEFT_OPEN)

    def test_clients_that_were_only_made_work_in_every_child(self):
        self.run_program(_MADE_BEFORE)


if __name__ == "__main__":
    harness.main()
