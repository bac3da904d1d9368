"""What was sent of one partition and is not acked: its order, its place in the producer's sequence, and what goes again.

The rules that keep order and store nothing twice:
  * Batches are stamped with (producer id, epoch, sequence) when they are first sent, and sent in that order.
  * After a failure that a retry mends, nothing new is sent until every batch in flight is answered; then all unacked ones go again,
    in order, as they were. The broker recognises those that it has.
  * OUT_OF_ORDER_SEQUENCE_NUMBER for the oldest unacked batch means that its predecessor is missing (given up on). That one, and
    earlier copies of the others, may still be on their way: so the oldest goes alone, under the next epoch, in the place that the
    broker said it expects. If it is refused, too, something came late: a batch that was sent under the epoch which the broker has
    goes again as it was then.
  * UNKNOWN_PRODUCER_ID means that the broker has forgotten the producer, and with it whether a batch was stored that was sent before
    without an answer: such a batch fails with an unknown outcome. Only the oldest one's answer says so.

    batch = sender.start(batch, identity)
    verdict = sender.on_answer(batch, ack.error)
    if sender.retry_wanted and sender.in_flight == 0: again = sender.restart(identity)

Does no I/O. Lives on the loop.
"""

import enum
from typing import Any, List, NamedTuple, Optional

from millrace._core.backoff import Backoff
from millrace._core.batch import Batch, Stamp
from millrace._core.loop import Timer
from millrace.errors import ErrorCode, MillraceError

IN_FLIGHT_MAX = 5  # the broker remembers so many batches of each producer
EPOCHS_RAISED = 65_536  # apart are those that InitProducer gives out
_EPOCHS_RAISED_MAX = EPOCHS_RAISED - 1_000


class Identity(NamedTuple):
    producer_id: int
    epoch: int


class Refusal(NamedTuple):
    """An ack's error, with what the partition has of this producer."""

    error: MillraceError
    epoch: int
    expected_sequence: int


class Verdict(enum.Enum):
    STORED = "stored"
    FAILED = "failed"  # for good
    RETRY = "retry"  # it stays unacked


class _Place(NamedTuple):
    epoch: int = -1  # nothing is known
    expected_sequence: int = 0


def sequence_after(sequence: int, records: int) -> int:
    return (sequence + records) & 0x7FFFFFFF


def _is_after(sequence: int, other: int) -> bool:
    return 0 < ((sequence - other) & 0x7FFFFFFF) < 0x40000000


class PartitionSender:
    def __init__(self, idempotent: bool, backoff: Backoff, in_flight_max: int = IN_FLIGHT_MAX) -> None:
        self._idempotent = idempotent
        self._in_flight_max = in_flight_max
        self.backoff = backoff
        self.unacked: List[Batch] = []  # in sequence order
        self.in_flight = 0  # of unacked
        self.retry_wanted = False  # those not in flight are to be sent again
        self.last_error: Optional[MillraceError] = None  # None once something was stored
        self.refused: Optional[Identity] = None  # as it was given out; the next restart() needs another
        self._identity: Optional[Identity] = None  # its epoch: the highest that was used here
        self._next_sequence = 0
        self._broken: Optional[_Place] = None  # nothing was stored since: one batch at a time
        self.session: Any = None  # kept for the core: what carries the partition
        self.pause: Optional[Timer] = None  # and the pause before a retry

    @property
    def room(self) -> int:
        """How many more batches may be started now."""
        if self.retry_wanted:
            return 0
        if self._broken is not None:
            return 0 if self.unacked else 1
        return self._in_flight_max - len(self.unacked)

    def start(self, batch: Batch, identity: Identity) -> None:
        assert self.room > 0
        self.unacked.append(batch)
        if self._broken is not None:
            self._stamp_alone(batch)
        else:
            self._stamp_next(batch, identity)
        self._launch(batch)

    def restart(self, identity: Identity) -> List[Batch]:
        """All unacked batches, to be sent again; only the oldest while the sequence is broken."""
        assert self.in_flight == 0
        if self.refused is not None:
            assert identity != self.refused
            self._identity = self.refused = self._broken = None
        again = self.unacked[:1] if self._broken is not None else list(self.unacked)
        for batch in again:
            if self._broken is not None:
                self._stamp_alone(batch)
            elif self._identity is None or not self._is_stamped(batch):
                self._stamp_next(batch, identity)
            self._launch(batch)
        self.retry_wanted = self.in_flight < len(self.unacked)
        return again

    def on_answer(self, batch: Batch, refusal: Optional[Refusal]) -> Verdict:
        self._settle(batch)
        if refusal is None or refusal.error.code == ErrorCode.DUPLICATE_SEQUENCE_NUMBER:
            self._on_stored(batch)
            return Verdict.STORED
        error = refusal.error
        broken = self._idempotent and (
            error.code in (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, ErrorCode.UNKNOWN_PRODUCER_ID) or self._raised_itself(refusal))
        is_first = self.unacked[0] is batch
        if not broken or is_first or self.last_error is None:  # behind a refused batch, what that one was refused for is the cause
            self.last_error = error
        batch.maybe_stored = batch.maybe_stored or error.may_have_happened
        if broken:
            if is_first and error.code == ErrorCode.UNKNOWN_PRODUCER_ID and batch.maybe_stored:
                self.last_error = error.changed(may_have_happened=True)
                return Verdict.FAILED
            if is_first:
                self._on_broken_sequence(batch, refusal)
        elif not error.retriable and error.code != ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:  # metadata says whether it is gone
            if batch.maybe_stored:  # when it was sent before
                self.last_error = error.changed(may_have_happened=True)
            return Verdict.FAILED
        self.retry_wanted = True
        return Verdict.RETRY

    def on_lost(self, batch: Batch, error: MillraceError) -> None:
        """The stream broke under a batch in flight."""
        self._settle(batch)
        batch.maybe_stored = True
        self.last_error = error
        self.retry_wanted = True

    def remove(self, batch: Batch) -> None:
        """It is stored, or given up on."""
        if batch.in_flight:
            self._settle(batch)
        self.unacked.remove(batch)
        if not self.unacked and self.refused is None:
            self.retry_wanted = False

    def _stamp_next(self, batch: Batch, identity: Identity) -> None:
        if not self._idempotent:
            return
        if self._identity is None:
            self._identity = identity
            self._next_sequence = 0
        batch.stamps.append(Stamp(*self._identity, self._next_sequence))
        self._next_sequence = sequence_after(self._next_sequence, batch.count)

    def _stamp_alone(self, batch: Batch) -> None:
        """While the sequence is broken. Never a place that another batch had: the broker would take it for that one."""
        assert self._identity is not None and self._broken is not None
        for stamp in batch.stamps:
            known = stamp.producer_id == self._identity.producer_id and stamp.epoch == self._broken.epoch
            if known and not _is_after(stamp.sequence, self._broken.expected_sequence):
                batch.stamps.append(stamp)
                return
        if self._is_stamped(batch) and batch.stamps[-1].sequence == self._broken.expected_sequence:
            return
        self._identity = self._identity._replace(epoch=self._identity.epoch + 1)
        self._next_sequence = self._broken.expected_sequence
        self._stamp_next(batch, self._identity)

    def _is_stamped(self, batch: Batch) -> bool:
        return bool(batch.stamps) and batch.stamps[-1][:2] == self._identity

    def _launch(self, batch: Batch) -> None:
        batch.in_flight = True
        self.in_flight += 1

    def _settle(self, batch: Batch) -> None:
        assert batch.in_flight
        batch.in_flight = False
        self.in_flight -= 1

    def _on_stored(self, batch: Batch) -> None:
        self.backoff.reset()
        self.last_error = None
        if self._broken is None or self._identity is None:
            return
        stamp = batch.stamps[-1]
        if stamp.epoch == self._identity.epoch:
            self._broken = None
        else:
            self._broken = _Place(stamp.epoch, sequence_after(stamp.sequence, batch.count))

    def _on_broken_sequence(self, batch: Batch, refusal: Refusal) -> None:
        assert self._identity is not None
        unknown = refusal.error.code == ErrorCode.UNKNOWN_PRODUCER_ID
        never_given_out = unknown and batch.stamps[-1].sequence == 0
        if never_given_out or self._identity.epoch % EPOCHS_RAISED >= _EPOCHS_RAISED_MAX:
            self.refused = self._identity._replace(epoch=self._identity.epoch // EPOCHS_RAISED * EPOCHS_RAISED)
        elif unknown:
            self._broken = _Place()
        else:
            self._broken = _Place(refusal.epoch, refusal.expected_sequence)

    def _raised_itself(self, refusal: Refusal) -> bool:
        """Fenced by an epoch of its own: a batch of that one came late, and something else was tried in the meantime."""
        return (refusal.error.code == ErrorCode.INVALID_PRODUCER_EPOCH and self._identity is not None
                and refusal.epoch // EPOCHS_RAISED == self._identity.epoch // EPOCHS_RAISED
                and refusal.epoch <= self._identity.epoch)
