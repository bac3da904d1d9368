"""Three brokers of which one after the other is killed while a producer sends and a group reads: nothing is lost, doubled or out of
order in the log, and every record is handled."""

import concurrent.futures
import secrets
import socket
import tempfile
import threading
import unittest
from pathlib import Path

import harness
import millrace
import millrace.testing

PARTITIONS = 6
RECORDS = 3_000
TOPIC = "orders"


def free_addresses(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


class Cluster(unittest.TestCase):
    def setUp(self):
        addresses = free_addresses(3)
        members = ",".join(f"{number}@{address}" for number, address in enumerate(addresses, 1))

        scratch = tempfile.TemporaryDirectory(prefix="millrace-cluster-")
        self.addCleanup(scratch.cleanup)
        secret = Path(scratch.name) / "secret"
        secret.touch(0o600)
        secret.write_text(secrets.token_hex(32))

        def start(number):
            return millrace.testing.Broker("--broker-id", str(number), "--cluster", members, "--peer-secret-file", str(secret),
                                           address=addresses[number - 1])

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            self.brokers = list(pool.map(start, (1, 2, 3)))
        for broker in self.brokers:
            self.addCleanup(broker.close)
        self.address = ",".join(addresses)

    def test_killing_one_at_a_time(self):
        with millrace.Admin(self.address) as admin:
            self.assertEqual(admin.create_topic(TOPIC, partitions=PARTITIONS).replication_factor, 3)
        producer = millrace.Producer(self.address, batch_size=1024)
        quarter = RECORDS // 4
        marks = [threading.Event() for _ in range(4)]

        def produce():
            for i in range(RECORDS):
                delivery = producer.send(TOPIC, str(i), partition=i % PARTITIONS)
                if i % quarter == quarter - 1:
                    delivery.add_done_callback(lambda _, phase=i // quarter: marks[phase].set())
                    if i + 1 < RECORDS:
                        delivery.exception()  # so that some are sent after each broker was killed

        handled, lock, everything = set(), threading.Lock(), threading.Event()

        def handle():
            with millrace.Consumer(self.address, group_id="payment", session_timeout_ms=2_000) as consumer:
                consumers.append(consumer)
                consumer.subscribe(TOPIC)
                for record in consumer:
                    with lock:
                        handled.add(int(record.value))
                        if len(handled) == RECORDS:
                            everything.set()

        consumers = []
        threads = [threading.Thread(target=target, daemon=True) for target in (produce, handle, handle)]
        for thread in threads:
            thread.start()
        for mark, broker in zip(marks, self.brokers):
            mark.wait(30)
            broker.kill()
            broker.restart()
        self.assertTrue(marks[-1].wait(30))
        producer.close()
        self.assertTrue(everything.wait(30), f"{RECORDS - len(handled)} were not handled")
        for consumer in consumers:
            consumer.wakeup()
        for thread in threads:
            thread.join()

        with millrace.connect(self.address) as m:
            stored = {number: [] for number in range(PARTITIONS)}
            for record in m.consume(TOPIC, until=millrace.Position.end()):
                stored[record.partition].append(int(record.value))
            self.assertEqual(stored, {number: list(range(number, RECORDS, PARTITIONS)) for number in range(PARTITIONS)})
            committed = {each.partition: each.offset for each in m.admin.committed("payment")}
            self.assertEqual(committed, {number: RECORDS // PARTITIONS for number in range(PARTITIONS)})


if __name__ == "__main__":
    harness.main()
