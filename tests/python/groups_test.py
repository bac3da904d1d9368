"""Members of groups against a real broker: they come, go, are killed and are reset, and every record is handled."""

import subprocess
import sys
import threading

import harness
import millrace
from millrace import ErrorCode, Position, TopicPartition

_MEMBER = """
import sys, millrace
address, topic, group = sys.argv[1:]
with millrace.Consumer(address, group_id=group, session_timeout_ms=1000) as consumer:
    consumer.subscribe(topic)
    for record in consumer:
        print(record.partition, record.offset, flush=True)
"""


class Groups(harness.BrokerTest):
    def fill(self, count, partitions=4):
        topic = self.topic(partitions=partitions)
        with self.producer() as producer:
            for i in range(count):
                producer.send(topic, str(i), partition=i % partitions)
        return topic

    def member(self, topic, **settings):
        settings.setdefault("group_id", self._testMethodName)
        consumer = self.consumer(**settings)
        consumer.subscribe(topic)
        return consumer

    def take(self, consumer, count):
        records = []
        for record in consumer:
            records.append(record)
            if len(records) == count:
                break
        return records

    def committed(self, topic):
        return {each.partition: each.offset for each in self.admin.committed(self._testMethodName) if each.topic == topic}

    def test_a_group_goes_on_where_it_was(self):
        topic = self.fill(400)
        first = self.member(topic)
        seen = [(record.partition, record.offset) for record in self.take(first, 150)]
        first.commit()
        first.close()
        self.assertEqual(sum(self.committed(topic).values()), 150)  # with the one in hand
        seen += [(record.partition, record.offset) for record in self.take(self.member(topic), 250)]
        self.assertEqual(len(seen), len(set(seen)))
        self.assertEqual(len(seen), 400)

    def test_members_share_and_a_leaver_hands_over_what_it_did(self):
        topic = self.fill(4_000)
        handled, lock, everything = {}, threading.Lock(), threading.Event()

        def work(consumer, limit):
            count = 0
            for record in consumer:
                with lock:
                    handled[record.partition, record.offset] = handled.get((record.partition, record.offset), 0) + 1
                    if len(handled) == 4_000:
                        everything.set()
                count += 1
                if count == limit:
                    consumer.commit(record)
                    break
            consumer.close()

        consumers = [self.member(topic) for _ in range(3)]
        threads = [threading.Thread(target=work, args=(consumer, limit)) for consumer, limit in zip(consumers, (0, 200, 500))]
        for thread in threads:
            thread.start()
        everything.wait(60)
        for consumer in consumers:
            consumer.wakeup()
        for thread in threads:
            thread.join()
        self.assertEqual(len(handled), 4_000)
        self.assertEqual(set(handled.values()), {1})  # none twice, as all left cleanly

    def test_a_killed_members_partitions_are_taken_over(self):
        topic = self.fill(8)
        member = subprocess.Popen([sys.executable, "-c", _MEMBER, self.broker.address, topic, self._testMethodName],
                                  stdout=subprocess.PIPE, text=True)
        first = {member.stdout.readline() for _ in range(8)}
        member.kill()
        member.wait()
        member.stdout.close()
        heir = self.member(topic, session_timeout_ms=1000)
        records = self.take(heir, 8)  # nothing was committed in so short a time
        self.assertEqual({f"{record.partition} {record.offset}\n" for record in records}, first)

    def test_positions_are_reset_under_running_members(self):
        topic = self.fill(40, partitions=1)
        consumer = self.member(topic)
        self.take(consumer, 40)
        consumer.poll(0)
        consumer.commit()
        [result] = self.admin.reset_group(self._testMethodName, topic, Position.offset(10))
        self.assertEqual((result.old_offset, result.new_offset), (40, 10))
        self.assertEqual([record.offset for record in self.take(consumer, 30)], list(range(10, 40)))

    def test_lag_and_description(self):
        topic = self.fill(40, partitions=2)
        consumer = self.member(topic)
        self.take(consumer, 40)
        consumer.poll(0)
        consumer.commit()
        self.assertEqual([(each.committed, each.lag) for each in self.admin.group_lag(self._testMethodName)], [(20, 0), (20, 0)])
        described = self.admin.describe_group(self._testMethodName)
        self.assertEqual((described.state, len(described.members)), ("Stable", 1))
        self.assertIn(self._testMethodName, [each.group for each in self.admin.list_groups()])
        self.raises(ErrorCode.NON_EMPTY_GROUP, self.admin.delete_group, self._testMethodName)
        consumer.close()
        self.admin.delete_group(self._testMethodName)
        self.raises(ErrorCode.GROUP_ID_NOT_FOUND, self.admin.describe_group, self._testMethodName)

    def test_topics_by_pattern_are_found_when_they_come(self):
        group = self._testMethodName
        consumer = self.consumer(group_id=group)
        consumer.subscribe(pattern=group + r"\..*")
        self.assertEqual(consumer.poll(0), [])
        self.fill(4)
        self.assertEqual(len(self.take(consumer, 4)), 4)

    def test_a_twin_fences_a_static_member(self):
        topic = self.fill(4)
        first = self.member(topic, group_instance_id="one")
        self.take(first, 1)
        second = self.member(topic, group_instance_id="one")
        self.take(second, 4)
        with self.assertRaises(millrace.MillraceError) as raised:
            while True:
                first.poll(30)
        self.assertEqual(raised.exception.code, ErrorCode.FENCED_INSTANCE_ID)

    def test_partitions_may_be_assigned_without_membership(self):
        topic = self.fill(40, partitions=1)
        consumer = self.consumer(group_id=self._testMethodName)
        consumer.assign([topic])
        self.take(consumer, 11)
        consumer.commit()
        again = self.consumer(group_id=self._testMethodName)
        again.assign([TopicPartition(topic, 0)])
        self.assertEqual(next(iter(again)).offset, 11)
        self.raises(ErrorCode.OFFSET_OUT_OF_RANGE, again.commit, offsets=[millrace.CommittedOffset(topic, 0, 1_000)])

    def test_a_coordinator_that_is_killed_is_waited_for(self):
        topic = self.fill(100, partitions=2)
        consumer = self.member(topic)
        seen = self.take(consumer, 50)
        self.broker.kill()
        self.broker.restart()
        seen += self.take(consumer, 50)
        self.assertEqual(len({(record.partition, record.offset) for record in seen}), 100)
        consumer.poll(0)
        consumer.commit()
        self.assertEqual(self.committed(topic), {0: 50, 1: 50})


if __name__ == "__main__":
    harness.main()
