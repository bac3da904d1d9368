"""The asyncio clients against a real broker."""

import asyncio

import harness
import millrace
import millrace.aio
from millrace import Assignment, Position


class Aio(harness.BrokerTest):
    def test_produce_and_consume(self):
        topic = self.topic(partitions=2)

        async def run():
            async with millrace.aio.Producer(self.broker.address) as producer:
                acks = [await producer.send(topic, str(i), partition=i % 2) for i in range(1_000)]
                self.assertEqual((await acks[-1]).offset, 499)
                self.assertEqual((await producer.send_and_wait(topic, b"1000", partition=0)).offset, 500)
            async with millrace.aio.Consumer(self.broker.address) as consumer:
                await consumer.assign([Assignment(topic, until=Position.end())])
                return sorted([int(record.value) async for record in consumer])

        self.assertEqual(asyncio.run(run()), list(range(1_001)))

    def test_a_cancelled_wait_loses_nothing(self):
        topic = self.topic()

        async def run():
            async with millrace.aio.Consumer(self.broker.address) as consumer, millrace.aio.Producer(self.broker.address) as producer:
                await consumer.assign([topic])
                waiting = asyncio.ensure_future(consumer.poll())
                await asyncio.sleep(0)
                waiting.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await waiting
                await producer.send_and_wait(topic, b"v")
                return await consumer.poll()

        self.assertEqual([record.value for record in asyncio.run(run())], [b"v"])

    def test_a_handler_that_fails_is_tried_again_and_then_passed_on(self):
        topic = self.topic(partitions=2)
        failed = self.topic()
        handled = []

        async def handle(record):
            await asyncio.sleep(0)
            if record.value == b"poison":
                raise ValueError("bad")
            handled.append(record.value)

        async def run():
            async with millrace.aio.Producer(self.broker.address) as producer:
                for i, value in enumerate((b"a", b"poison", b"b", b"c")):
                    await producer.send_and_wait(topic, value, partition=i % 2)
            async with millrace.aio.Consumer(self.broker.address) as consumer:
                await consumer.assign([Assignment(topic, until=Position.end())])
                await consumer.run(handle, attempts=2, backoff=0.01, dead_letter_topic=failed)
            async with millrace.aio.Consumer(self.broker.address) as consumer:
                await consumer.assign([Assignment(failed, until=Position.end())])
                return [record.value async for record in consumer]

        self.assertEqual(asyncio.run(run()), [b"poison"])
        self.assertEqual(sorted(handled), [b"a", b"b", b"c"])

    def test_a_cancelled_run_ends_once_its_handler_returns(self):
        topic = self.topic()

        async def run():
            begun, done = asyncio.Event(), []
            go_on = asyncio.Event()

            async def handle(record):
                begun.set()
                await go_on.wait()
                done.append(record.value)

            async with millrace.aio.Producer(self.broker.address) as producer:
                await producer.send_and_wait(topic, b"v")
            async with millrace.aio.Consumer(self.broker.address) as consumer:
                await consumer.assign([topic])
                running = asyncio.ensure_future(consumer.run(handle))
                await begun.wait()
                running.cancel()
                await asyncio.sleep(0)
                self.assertFalse(running.done())
                go_on.set()
                with self.assertRaises(asyncio.CancelledError):
                    await running
            return done

        self.assertEqual(asyncio.run(run()), [b"v"])

    def test_errors_are_raised_where_they_are_awaited(self):
        async def run():
            async with millrace.aio.Producer(self.broker.address) as producer, millrace.aio.Admin(self.broker.address) as admin:
                with self.assertRaises(millrace.MillraceError) as raised:
                    await producer.send("no.such.topic", b"v")
                await admin.create_topic("aio", partitions=2)
                self.assertEqual([each.latest for each in await admin.offsets("aio")], [0, 0])
                return raised.exception.code

        self.assertEqual(asyncio.run(run()), millrace.ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)


if __name__ == "__main__":
    harness.main()
