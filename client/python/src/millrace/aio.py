"""The same clients for asyncio.

    async with millrace.aio.Producer("127.0.0.1:9470") as producer:
        await producer.send_and_wait("orders", b"2 tickets", key=b"alice")

    async with millrace.aio.Consumer("127.0.0.1:9470", group_id="payment") as consumer:
        await consumer.subscribe(["orders"])
        async for record in consumer:
            await charge(record.value)

They stand on the plain clients: the same thread does the work for both, and nothing here blocks the event loop. Arguments and errors
are those of millrace.Producer, Consumer and Admin. A consumer's callbacks run on a thread of its own.

Thread safety: each belongs to one event loop.
"""

import asyncio
import concurrent.futures
import functools
from types import TracebackType
from typing import Any, AsyncIterator, Awaitable, Callable, Iterable, List, Optional, Sequence, Type, TypeVar, Union

import millrace.admin
import millrace.consumer
import millrace.producer
from millrace._core.encoding import Bytes, HeaderLike
from millrace.errors import MillraceError
from millrace.position import Assignment, Position
from millrace.record import CommittedOffset, Record, RecordMetadata, TopicPartition

T = TypeVar("T")


class _Threaded:
    """Runs the plain client's waiting calls on one thread beside the event loop."""

    def __init__(self) -> None:
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "millrace-aio")

    async def _run(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, functools.partial(function, *arguments, **named))

    async def close(self) -> None:
        raise NotImplementedError

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        trace: Optional[TracebackType]) -> None:
        await self.close()


class Producer(_Threaded):
    def __init__(self, address: Optional[str] = None, **named: Any) -> None:
        super().__init__()
        self._plain = millrace.producer.Producer(address, **named)

    async def send(self, topic: str, value: Optional[Bytes], *, key: Optional[Bytes] = None, headers: Sequence[HeaderLike] = (),
                   partition: Optional[int] = None, timestamp: Optional[int] = None) -> "asyncio.Future[RecordMetadata]":
        """Waits while buffer.memory is full. What it returns is done when the record is stored."""
        send = functools.partial(self._plain.send, topic, value, key=key, headers=headers, partition=partition, timestamp=timestamp)
        delivery = send() if self._plain.would_not_wait(topic, value, key) else await self._run(send)
        loop = asyncio.get_running_loop()
        stored: "asyncio.Future[RecordMetadata]" = loop.create_future()

        def settle(error: Optional[MillraceError]) -> None:
            if stored.done():
                return
            if error is not None:
                stored.set_exception(error)
                stored.exception()  # flush() tells who does not look
            else:
                stored.set_result(delivery.result())

        delivery.add_done_callback(lambda done: loop.call_soon_threadsafe(settle, done.exception()))
        return stored

    async def send_and_wait(self, topic: str, value: Optional[Bytes], **named: Any) -> RecordMetadata:
        return await (await self.send(topic, value, **named))

    async def flush(self, timeout: Optional[float] = None) -> None:
        await self._run(self._plain.flush, timeout)

    async def close(self, timeout: Optional[float] = None) -> None:
        await self._run(self._plain.close, timeout)
        self._executor.shutdown(wait=False)

    async def __aenter__(self) -> "Producer":
        return self


class Consumer(_Threaded):
    def __init__(self, address: Optional[str] = None, **named: Any) -> None:
        super().__init__()
        self.plain = millrace.consumer.Consumer(address, **named)  # for what does not wait: seek(), pause(), position(), ...

    async def assign(self, assignments: Iterable[Union[str, TopicPartition, Assignment]]) -> None:
        await self._run(self.plain.assign, assignments)

    async def subscribe(self, topics: Union[str, Sequence[str]] = (), *, pattern: str = "") -> None:
        await self._run(self.plain.subscribe, topics, pattern=pattern)

    async def __aiter__(self) -> AsyncIterator[Record]:
        while await self._wait(self.plain._fill, None):
            for record in self.plain._give():
                yield record

    async def run(self, handler: Callable[[Record], Awaitable[None]], **named: Any) -> None:
        """millrace.Consumer.run() with a coroutine for each record, one at a time.

        When it is cancelled it ends once the one that has begun has returned.
        """
        loop = asyncio.get_running_loop()

        async def handle(record: Record) -> None:
            await handler(record)

        def wait(record: Record) -> None:
            asyncio.run_coroutine_threadsafe(handle(record), loop).result()

        await self._wait(functools.partial(self.plain.run, wait, **named))

    async def poll(self, timeout: Optional[float] = None, max_records: Optional[int] = None) -> List[Record]:
        return await self._wait(self.plain.poll, timeout, max_records)

    async def _wait(self, function: Callable[..., T], *arguments: Any) -> T:
        """A call that wakeup() ends: when it is cancelled, too."""
        waiting = asyncio.ensure_future(self._run(function, *arguments))
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self.plain.wakeup()
            await asyncio.wait([waiting])
            self.plain.forget_wakeup()
            raise

    async def commit(self, record: Optional[Record] = None, *, offsets: Optional[Sequence[CommittedOffset]] = None) -> None:
        await self._run(self.plain.commit, record, offsets=offsets)

    async def committed(self, partitions: Sequence[TopicPartition] = ()) -> List[CommittedOffset]:
        return await self._run(self.plain.committed, partitions)

    async def close(self) -> None:
        self.plain.wakeup()
        await self._run(self.plain.close)
        self._executor.shutdown(wait=False)

    async def __aenter__(self) -> "Consumer":
        return self


class Admin(_Threaded):
    def __init__(self, address: Optional[str] = None, **named: Any) -> None:
        super().__init__()
        self._plain = millrace.admin.Admin(address, **named)

    async def create_topic(self, name: str, **named: Any) -> millrace.admin.Topic:
        return await self._run(self._plain.create_topic, name, **named)

    async def delete_topic(self, name: str) -> None:
        await self._run(self._plain.delete_topic, name)

    async def list_topics(self, *, include_internal: bool = False) -> List[millrace.admin.Topic]:
        return await self._run(self._plain.list_topics, include_internal=include_internal)

    async def offsets(self, topic: str, at: Optional[Position] = None) -> List[millrace.admin.PartitionOffsets]:
        return await self._run(self._plain.offsets, topic, at)

    async def group_lag(self, group: str) -> List[millrace.admin.Lag]:
        return await self._run(self._plain.group_lag, group)

    async def reset_group(self, group: str, topic: str, to: Position, *, dry_run: bool = False) -> List[millrace.admin.ResetResult]:
        return await self._run(self._plain.reset_group, group, topic, to, dry_run=dry_run)

    async def delete_group(self, group: str) -> None:
        await self._run(self._plain.delete_group, group)

    async def close(self) -> None:
        await self._run(self._plain.close)
        self._executor.shutdown(wait=False)

    async def __aenter__(self) -> "Admin":
        return self
