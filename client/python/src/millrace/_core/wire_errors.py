"""Errors as they come over the wire: fields of messages, and the status of calls."""

from typing import Any, Optional

import grpc

from millrace.errors import ErrorCode, MillraceError
from millrace.v1 import broker_pb2, error_pb2

_DETAILS = "millrace-error-bin"


def from_proto(error: error_pb2.Error, address: str = "", topic: str = "", partition: Optional[int] = None) -> MillraceError:
    code = ErrorCode(error.code)
    message = error.message if code != ErrorCode.UNKNOWN else f"code {error.code}: {error.message}"
    return MillraceError(
        code, message, retriable=error.retriable, may_have_happened=error.may_have_happened, topic=error.topic or topic,
        partition=error.partition if error.HasField("partition") else partition, address=error.address or address,
        limit=error.limit, size=error.size,
        log_start_offset=error.log_start_offset if error.HasField("log_start_offset") else None,
        high_watermark=error.high_watermark if error.HasField("high_watermark") else None)


def offset_fault(reply: broker_pb2.ListOffsetsResponse) -> Optional[MillraceError]:
    for result in reply.results:
        if result.HasField("error"):
            return from_proto(result.error, topic=result.topic, partition=result.partition)
    return None


def from_call(call: grpc.RpcError, address: str) -> MillraceError:
    """Of a call that ended. Without an Error of Millrace the connection broke, or nobody listens."""
    metadata: Any = call.trailing_metadata() or ()
    details = dict(metadata).get(_DETAILS)
    if isinstance(details, bytes):
        return from_proto(error_pb2.Error.FromString(details), address)
    status = call.code()
    if status == grpc.StatusCode.DEADLINE_EXCEEDED:
        return MillraceError(ErrorCode.REQUEST_TIMED_OUT, f"{address} did not answer in time; look at the broker, or allow more "
                             "time (request.timeout.ms)", retriable=True, may_have_happened=True, address=address)
    if status == grpc.StatusCode.UNIMPLEMENTED:
        return MillraceError(ErrorCode.UNSUPPORTED_VERSION, f"{address} does not know this call ({call.details()}); use a broker "
                             "of this client's release or a later one", address=address)
    return MillraceError(ErrorCode.NETWORK_EXCEPTION, f"{address} cannot be reached, or the connection broke ({status.name}: "
                         f"{call.details()}); check that the broker runs and the address is right",
                         retriable=True, may_have_happened=True, address=address)
