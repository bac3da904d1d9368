"""What went wrong, where, whether a retry is safe, and whether the failed call may have taken effect.

    try:
        producer.send("orders", value).result()
    except millrace.MillraceError as error:
        if error.code == millrace.ErrorCode.MESSAGE_TOO_LARGE:
            split(error.limit)
        if error.may_have_happened:
            check_before_repeating()

The library retries by itself whatever is worth it: an error that reaches the caller is final for that call. `retriable` then says
that the same call may succeed later without anything being changed.

Thread safety: values.
"""

import enum
from typing import Any, Optional


class ErrorCode(enum.IntEnum):
    """Names and numbers of millrace.v1.Error.Code; below 1000 they are Apache Kafka's."""

    CANCELLED = -2  # made by this library only: given up by close() or wakeup()
    UNKNOWN = -1  # a number of a later release
    NONE = 0
    OFFSET_OUT_OF_RANGE = 1
    CORRUPT_MESSAGE = 2
    UNKNOWN_TOPIC_OR_PARTITION = 3
    LEADER_NOT_AVAILABLE = 5
    NOT_LEADER_OR_FOLLOWER = 6
    REQUEST_TIMED_OUT = 7
    MESSAGE_TOO_LARGE = 10
    NETWORK_EXCEPTION = 13  # made by this library only: no broker can be reached, or the connection broke
    INVALID_TOPIC_EXCEPTION = 17
    NOT_ENOUGH_REPLICAS = 19
    INVALID_GROUP_ID = 24
    UNKNOWN_MEMBER_ID = 25
    INVALID_SESSION_TIMEOUT = 26
    INVALID_COMMIT_OFFSET_SIZE = 28
    CLUSTER_AUTHORIZATION_FAILED = 31
    INVALID_TIMESTAMP = 32
    UNSUPPORTED_VERSION = 35
    TOPIC_ALREADY_EXISTS = 36
    INVALID_PARTITIONS = 37
    INVALID_REPLICATION_FACTOR = 38
    INVALID_CONFIG = 40
    INVALID_REQUEST = 42
    POLICY_VIOLATION = 44
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45
    DUPLICATE_SEQUENCE_NUMBER = 46
    INVALID_PRODUCER_EPOCH = 47
    KAFKA_STORAGE_ERROR = 56
    UNKNOWN_PRODUCER_ID = 59
    NON_EMPTY_GROUP = 68
    GROUP_ID_NOT_FOUND = 69
    FENCED_LEADER_EPOCH = 74
    UNKNOWN_LEADER_EPOCH = 75
    UNSUPPORTED_COMPRESSION_TYPE = 76
    GROUP_MAX_SIZE_REACHED = 81
    FENCED_INSTANCE_ID = 82
    INVALID_RECORD = 87
    THROTTLING_QUOTA_EXCEEDED = 89
    UNKNOWN_TOPIC_ID = 100
    FENCED_MEMBER_EPOCH = 110
    INVALID_REGULAR_EXPRESSION = 128
    REPLY_TOO_LARGE = 1001
    SHUTTING_DOWN = 1002
    INTERNAL = 1003

    @classmethod
    def _missing_(cls, value: object) -> "ErrorCode":
        return cls.UNKNOWN


class MillraceError(Exception):
    """The one exception of this library. Its text begins with the code's name and ends with what to do."""

    def __init__(self, code: ErrorCode, message: str, *, retriable: bool = False, may_have_happened: bool = False,
                 topic: str = "", partition: Optional[int] = None, address: str = "", limit: int = 0, size: int = 0,
                 log_start_offset: Optional[int] = None, high_watermark: Optional[int] = None) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message  # the sentence, without the code's name
        self.retriable = retriable  # the same call may succeed later
        self.may_have_happened = may_have_happened  # the call may have taken effect although it failed
        self.topic = topic  # where, when known
        self.partition = partition
        self.address = address  # of the broker
        self.limit = limit  # MESSAGE_TOO_LARGE, REPLY_TOO_LARGE: bytes
        self.size = size
        self.log_start_offset = log_start_offset  # OFFSET_OUT_OF_RANGE: what can be read is from here
        self.high_watermark = high_watermark  # to here, exclusive

    def changed(self, **fields: Any) -> "MillraceError":
        """The same error with other fields."""
        kept = dict(self.__dict__)
        kept.update(fields)
        return MillraceError(kept.pop("code"), kept.pop("message"), **kept)


def invalid_request(message: str, **where: Any) -> MillraceError:
    return MillraceError(ErrorCode.INVALID_REQUEST, message, **where)


def invalid_config(message: str) -> MillraceError:
    return MillraceError(ErrorCode.INVALID_CONFIG, message)
