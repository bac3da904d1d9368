"""A broker that is killed and frozen while a producer and a consumer work: nothing is lost, doubled or out of order."""

import threading

import harness
import millrace
from millrace import Assignment

RECORDS = 6_000
PARTITIONS = 4
KILLS = 4


class Kill9(harness.BrokerTest):
    def test_everything_arrives_once_and_in_order(self):
        topic = self.topic(partitions=PARTITIONS)
        producer, consumer = self.producer(batch_size=1024), self.consumer()
        consumer.assign([Assignment(topic)])
        marks = [threading.Event() for _ in range(KILLS)]  # set when so many records are acked
        resumed = [threading.Event() for _ in range(KILLS)]

        def produce():
            for i in range(RECORDS):
                delivery = producer.send(topic, str(i), partition=i % PARTITIONS)
                phase, place = divmod(i, RECORDS // KILLS)
                if place == RECORDS // KILLS // 2:
                    delivery.add_done_callback(lambda _, phase=phase: marks[phase].set())
                    resumed[phase].wait(0.2)  # records that follow may be sent before, while or after the broker is away

        received = {number: [] for number in range(PARTITIONS)}

        def consume():
            count = 0
            for record in consumer:
                received[record.partition].append(int(record.value))
                count += 1
                if count == RECORDS:
                    return

        threads = [threading.Thread(target=produce, daemon=True), threading.Thread(target=consume, daemon=True)]
        for thread in threads:
            thread.start()
        for mark, again in zip(marks, resumed):
            mark.wait()
            self.broker.kill()
            self.broker.restart()
            again.set()
        for thread in threads:
            thread.join()
        producer.flush()
        expected = {number: list(range(number, RECORDS, PARTITIONS)) for number in range(PARTITIONS)}
        self.assertEqual(received, expected)
        stored = self.read_all(topic)
        self.assertEqual(len(stored), RECORDS)
        self.assertEqual(sorted(int(record.value) for record in stored), list(range(RECORDS)))

    def test_a_broker_that_stays_away_is_told_with_the_outcome(self):
        topic = self.topic()
        producer = millrace.Producer(self.broker.address, delivery_timeout_ms=300)
        producer.send(topic, b"stored").result()
        self.broker.kill()
        error = producer.send(topic, b"lost").exception()
        self.assertEqual((error.code, error.retriable), (millrace.ErrorCode.REQUEST_TIMED_OUT, True))
        self.assertIn("may be stored" if error.may_have_happened else "safe", error.message)
        self.broker.restart()
        self.raises(millrace.ErrorCode.REQUEST_TIMED_OUT, producer.close)


if __name__ == "__main__":
    harness.main()
