"""The rules by which a producer sends again, against a partition that behaves as record.proto says, over a network that loses."""

import random
import unittest

import harness
from millrace._core.backoff import Backoff
from millrace._core.batch import Batch
from millrace._core.partition_sender import Identity, PartitionSender, Refusal, Verdict, sequence_after
from millrace.errors import ErrorCode, MillraceError


class Stored:
    """What a partition keeps of a producer: its epoch, what comes next, and the last five batches."""

    def __init__(self):
        self.log = []
        self.epoch = None
        self.expected = 0
        self.recent = []

    def append(self, stamp, batch):
        """None, or the refusal."""
        if (stamp, batch.name) in self.recent:
            return None
        if self.epoch is None and stamp.sequence != 0:
            return self._refuse(ErrorCode.UNKNOWN_PRODUCER_ID)
        if self.epoch is not None and stamp.epoch < self.epoch:
            return self._refuse(ErrorCode.INVALID_PRODUCER_EPOCH)
        if stamp.epoch == self.epoch and 0 < ((self.expected - stamp.sequence) & 0x7FFFFFFF) < 0x40000000:
            return self._refuse(ErrorCode.DUPLICATE_SEQUENCE_NUMBER)
        if stamp.sequence != (self.expected if self.epoch is not None else 0):
            return self._refuse(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        self.epoch, self.expected = stamp.epoch, sequence_after(stamp.sequence, batch.count)
        self.recent = [*self.recent, (stamp, batch.name)][-5:]
        self.log.append(batch.name)
        return None

    def _refuse(self, code):
        return Refusal(MillraceError(code, "test"), self.epoch or 0, self.expected)


class NamedBatch(Batch):
    __slots__ = ("name",)


def new_batch(name, count=1):
    batch = NamedBatch(None, 0)
    batch.count = count
    batch.name = name
    return batch


LOST = MillraceError(ErrorCode.NETWORK_EXCEPTION, "lost", retriable=True, may_have_happened=True)
TRANSIENT = Refusal(MillraceError(ErrorCode.NOT_LEADER_OR_FOLLOWER, "moved", retriable=True), 0, 0)


class Sender(unittest.TestCase):
    def setUp(self):
        self.identity = Identity(9, 65_536)
        self.sender = PartitionSender(True, Backoff(1, 1))
        self.partition = Stored()

    def start(self, name, count=1):
        batch = new_batch(name, count)
        self.sender.start(batch, self.identity)
        return batch

    def answer(self, batch, refusal=None):
        verdict = self.sender.on_answer(batch, refusal)
        if verdict is not Verdict.RETRY:
            self.sender.remove(batch)
        return verdict

    def deliver(self, batch):
        return self.answer(batch, self.partition.append(batch.stamps[-1], batch))

    def settle(self):
        """Sends again until everything is stored."""
        for _ in range(50):
            if not self.sender.unacked:
                return
            for batch in self.sender.restart(self.identity):
                self.deliver(batch)
        self.fail("it does not come to an end")

    def test_sequences_count_records(self):
        stamps = [self.start(str(i), count=3).stamps[-1].sequence for i in range(5)]
        self.assertEqual(stamps, [0, 3, 6, 9, 12])
        self.assertEqual(self.sender.room, 0)

    def test_sequences_wrap(self):
        self.assertEqual(sequence_after(0x7FFFFFFF, 1), 0)
        self.assertEqual(sequence_after(0x7FFFFFFE, 5), 3)

    def test_after_a_lost_connection_all_go_again_as_they_were(self):
        batches = [self.start(name) for name in "abc"]
        stamps = [batch.stamps[-1] for batch in batches]
        self.partition.append(stamps[0], batches[0])
        for batch in batches:
            self.sender.on_lost(batch, LOST)
        self.assertEqual(self.sender.room, 0)  # nothing new overtakes them
        again = self.sender.restart(self.identity)
        self.assertEqual([batch.stamps[-1] for batch in again], stamps)
        for batch in again:
            self.assertIs(self.deliver(batch), Verdict.STORED)
        self.assertEqual(self.partition.log, ["a", "b", "c"])

    def test_a_batch_that_failed_leaves_its_sequence_to_the_next(self):
        a, b = self.start("a"), self.start("b")
        too_large = Refusal(MillraceError(ErrorCode.MESSAGE_TOO_LARGE, "test"), 0, 0)
        self.assertIs(self.answer(a, too_large), Verdict.FAILED)
        self.assertIs(self.deliver(b), Verdict.RETRY)
        self.settle()
        self.assertEqual(self.partition.log, ["b"])

    def test_what_comes_late_after_its_producer_gave_up_is_refused(self):
        a, b = self.start("a"), self.start("b")
        self.assertIs(self.deliver(a), Verdict.STORED)
        late = b.stamps[-1]
        self.sender.on_lost(b, LOST)
        self.sender.remove(b)  # its time is over; it may still be on its way
        c = self.start("c")
        self.deliver(c)
        self.settle()
        self.assertEqual(self.partition.append(late, b).error.code, ErrorCode.INVALID_PRODUCER_EPOCH)
        self.assertEqual(self.partition.log, ["a", "c"])

    def test_a_forgotten_producer_goes_on_with_what_was_never_sent_and_fails_the_rest(self):
        self.deliver(self.start("a"))
        self.partition.__init__()  # retention took all that it knew
        b, c = self.start("b"), self.start("c")
        self.sender.on_lost(b, LOST)
        self.sender.on_lost(c, LOST)
        again = self.sender.restart(self.identity)
        self.assertIs(self.deliver(again[0]), Verdict.FAILED)
        self.assertTrue(self.sender.last_error.may_have_happened)

    def test_an_id_never_given_out_is_replaced(self):
        a = self.start("a")
        self.answer(a, Refusal(MillraceError(ErrorCode.UNKNOWN_PRODUCER_ID, "test"), 0, 0))
        self.assertEqual(self.sender.refused, Identity(9, 65_536))
        self.identity = Identity(10, 0)
        self.settle()
        self.assertEqual(a.stamps[-1][:2], (10, 0))

    def test_over_any_loss_nothing_is_stored_twice_or_out_of_order(self):
        for seed in range(400):
            dice = random.Random(seed)
            self.setUp()
            sent, under_way, late = 0, [], []
            while sent < 30 or self.sender.unacked:
                if sent < 30 and self.sender.room > 0 and dice.random() < 0.7:
                    under_way.append(self.start(sent))
                    sent += 1
                elif self.sender.retry_wanted and not self.sender.in_flight:
                    under_way += self.sender.restart(self.identity)
                elif under_way:
                    batch = under_way.pop(0)
                    fate = dice.random()
                    if fate < 0.6:
                        self.deliver(batch)
                    elif fate < 0.7:
                        self.answer(batch, TRANSIENT)
                    else:  # the connection breaks, before or after it was stored, or the copy comes late
                        if fate < 0.85:
                            self.partition.append(batch.stamps[-1], batch)
                        elif fate < 0.95:
                            late.append((batch.stamps[-1], batch))
                        for lost in [batch, *under_way]:
                            self.sender.on_lost(lost, LOST)
                        under_way.clear()
                elif late:
                    self.partition.append(*late.pop())
            self.assertEqual(self.partition.log, list(range(30)), f"seed {seed}")


if __name__ == "__main__":
    harness.main()
