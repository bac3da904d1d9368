"""Settings of clients, by Kafka's names.

    Producer("10.0.0.1:9470,10.0.0.2:9470", linger_ms=5, compression_type="zstd")
    Producer(settings={"bootstrap.servers": "10.0.0.1:9470", "linger.ms": "5ms", "compression.type": "zstd"})

Durations are milliseconds, or text with a unit (ms, s, m, h, d); sizes are bytes, or text with a unit (kB, MB, GB: powers of 1000;
KiB, MiB, GiB: powers of 1024); switches are true or false. An unknown name or a bad value is INVALID_CONFIG, and the text names
what is accepted.
"""

import dataclasses
import difflib
import re
from typing import Any, Callable, Dict, List, Mapping, Optional, Type, TypeVar

from millrace.errors import invalid_config

DEFAULT_PORT = 9470

_MILLIS = {"": 1, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def _number(value: Any, units: Mapping[str, int]) -> Optional[int]:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    match = re.fullmatch(r"(\d+) *([A-Za-z]*)", str(value))
    if not match or match[2] not in units:
        return None
    return int(match[1]) * units[match[2]]


class _Kind:
    """How a setting's value is read."""

    def __init__(self, expected: str, read: Callable[[Any], Any]) -> None:
        self.expected = expected
        self.read = read  # None: cannot be read


def _bounded(units: Mapping[str, int], what: str, low: int, high: int) -> _Kind:
    def read(value: Any) -> Optional[int]:
        number = _number(value, units)
        return number if number is not None and low <= number <= high else None

    return _Kind(f"{what}, {low:,} to {high:,}" if high < 1 << 62 else f"{what}, at least {low:,}", read)


def _millis(low: int = 0, high: int = 1 << 62) -> _Kind:
    return _bounded(_MILLIS, "milliseconds, such as 500, or a time such as 5s", low, high)


def _bytes(low: int = 0, high: int = 1 << 62) -> _Kind:
    return _bounded(_BYTES, "bytes, such as 262144 or 256KiB", low, high)


def _count(low: int) -> _Kind:
    return _bounded({"": 1}, "a whole number", low, 1 << 31)


def _choice(**names: Any) -> _Kind:
    spelled = {name.replace("minus", "-"): value for name, value in names.items()}
    return _Kind(" or ".join(spelled), lambda value: spelled.get(str(value).lower()))


_TEXT = _Kind("text", lambda value: value if isinstance(value, str) else None)
_SWITCH = _Kind("true or false", lambda value: {"true": True, "false": False}.get(str(value).lower()))


def _reset(value: Any) -> Optional[str]:
    if value in ("earliest", "latest", "none"):
        return str(value)
    match = re.fullmatch(r"by_duration:(.+)", str(value))
    millis = _number(match[1], _MILLIS) if match else None
    return None if millis is None else f"by_duration:{millis}"


def _setting(kind: _Kind, default: Any) -> Any:
    return dataclasses.field(default=default, metadata={"kind": kind})


ACKS = {"none": 1, "0": 1, "leader": 2, "1": 2, "quorum": 3, "all": 3, "-1": 3}  # to millrace.v1.Acks
CODECS = {"none": 0, "lz4": 3, "zstd": 4}  # to millrace.v1.Codec


@dataclasses.dataclass(frozen=True)
class ClientSettings:
    """How the cluster is reached."""

    bootstrap_servers: str = _setting(_TEXT, f"127.0.0.1:{DEFAULT_PORT}")  # HOST:PORT[,HOST:PORT...]
    client_id: str = _setting(_TEXT, "")
    request_timeout_ms: int = _setting(_millis(1), 10_000)  # one request with all its retries
    connect_timeout_ms: int = _setting(_millis(1), 10_000)  # how long a request goes on while no broker can be connected
    retry_backoff_ms: int = _setting(_millis(1), 50)
    retry_backoff_max_ms: int = _setting(_millis(1), 1_000)
    metadata_max_age_ms: int = _setting(_millis(1), 60_000)
    ssl_ca_location: str = _setting(_TEXT, "")  # PEM file; TLS is used when it is set
    ssl_certificate_location: str = _setting(_TEXT, "")
    ssl_key_location: str = _setting(_TEXT, "")

    def addresses(self) -> List[str]:
        found = []
        for item in self.bootstrap_servers.split(","):
            item = item.strip()
            if not item:
                raise invalid_config(f'setting "bootstrap.servers" cannot be "{self.bootstrap_servers}", expected '
                                     "HOST:PORT[,HOST:PORT...]")
            has_port = item.rpartition("]")[2].count(":") == 1
            found.append(item if has_port else f"{item}:{DEFAULT_PORT}")
        return found


@dataclasses.dataclass(frozen=True)
class ProducerSettings(ClientSettings):
    acks: int = _setting(_Kind("none, leader or quorum", lambda value: ACKS.get(str(value).lower())), 3)
    enable_idempotence: bool = _setting(_SWITCH, True)  # retries store nothing twice and keep the order
    producer_name: str = _setting(_TEXT, "")  # fences whoever had it before: what that one sends is INVALID_PRODUCER_EPOCH
    linger_ms: int = _setting(_millis(), 0)  # 0: a batch leaves when its broker has a free slot, so load makes batches grow
    batch_size: int = _setting(_bytes(1 << 10, 64 << 20), 256 << 10)
    compression_type: int = _setting(_Kind("none, lz4 or zstd", lambda value: CODECS.get(str(value).lower())), 0)
    buffer_memory: int = _setting(_bytes(2 << 10), 64 << 20)  # bytes that may wait for their ack; send() waits when it is full
    max_block_ms: int = _setting(_millis(), 60_000)  # how long send() may wait for room, or for a topic's first metadata
    delivery_timeout_ms: int = _setting(_millis(1), 120_000)  # from send() until the record is given up

    def __post_init__(self) -> None:
        if len(self.producer_name.encode()) > 255:
            raise invalid_config("producer.name has up to 255 bytes; choose a shorter one")
        if self.producer_name and (not self.enable_idempotence or self.acks == ACKS["none"]):
            raise invalid_config("producer.name needs enable.idempotence=true, and acks that are not none")


@dataclasses.dataclass(frozen=True)
class ConsumerSettings(ClientSettings):
    auto_offset_reset: str = _setting(_Kind("earliest, latest, none or by_duration:1h", _reset), "earliest")
    group_id: str = _setting(_TEXT, "")
    group_instance_id: str = _setting(_TEXT, "")
    session_timeout_ms: int = _setting(_millis(1_000, 1_800_000), 10_000)
    max_poll_interval_ms: int = _setting(_millis(1_000), 300_000)
    enable_auto_commit: bool = _setting(_SWITCH, True)
    auto_commit_interval_ms: int = _setting(_millis(1), 5_000)
    group_remote_assignor: Any = _setting(_choice(uniform=0, range=1), 0)
    client_rack: str = _setting(_TEXT, "")
    on_gap: str = _setting(_choice(error="error", report="report"), "error")
    fetch_max_bytes: int = _setting(_bytes(64 << 10), 8 << 20)  # bytes of batches that may wait in memory
    max_poll_records: int = _setting(_count(1), 512)
    check_crcs: bool = _setting(_SWITCH, True)  # needs the extra [fast]


_RETRIES = "retries go on until delivery.timeout.ms or request.timeout.ms; set those instead"
_FIVE = "is always 5, which keeps the order with enable.idempotence=true"
_PUSHED = "brokers push records as they appear; fetch.max.bytes bounds the memory"
_REFUSED = {
    "retries": _RETRIES, "message_send_max_retries": _RETRIES,
    "max_in_flight_requests_per_connection": _FIVE, "max_in_flight": _FIVE,
    "fetch_min_bytes": _PUSHED, "fetch_max_wait_ms": _PUSHED, "max_partition_fetch_bytes": _PUSHED,
    "transactional_id": "this release has no transactions; producer.name fences an earlier producer of that name",
    "isolation_level": "this release has no transactions",
    "heartbeat_interval_ms": "the coordinator says how often; set session.timeout.ms",
    "partition_assignment_strategy": "brokers assign partitions; set group.remote.assignor",
    "min_insync_replicas": "a majority of the replicas is the rule",
}

S = TypeVar("S", bound=ClientSettings)


def parse(cls: Type[S], address: Optional[str], settings: Optional[Mapping[str, Any]], named: Mapping[str, Any]) -> S:
    """Named ones win over the map. Names may be written with dots or underscores."""
    given: Dict[str, Any] = {name.replace(".", "_"): value for name, value in (settings or {}).items()}
    given.update(named)
    if address is not None:
        given["bootstrap_servers"] = address
    fields = {field.name: field for field in dataclasses.fields(cls)}
    values = {}
    for name, value in given.items():
        dotted = name.replace("_", ".")
        if name in _REFUSED:
            raise invalid_config(f'setting "{dotted}": {_REFUSED[name]}')
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1)
            hint = f'; did you mean "{near[0].replace("_", ".")}"?' if near else f"; known are {', '.join(sorted(fields))}"
            raise invalid_config(f'unknown setting "{dotted}"{hint}')
        kind = fields[name].metadata["kind"]
        values[name] = kind.read(value)
        if values[name] is None:
            raise invalid_config(f'setting "{dotted}" cannot be "{value}", expected {kind.expected}')
    made = cls(**values)
    made.addresses()
    if isinstance(made, ProducerSettings) and made.buffer_memory < 2 * made.batch_size:
        raise invalid_config(f'setting "buffer.memory" is {made.buffer_memory}, must be at least twice batch.size')
    if bool(made.ssl_certificate_location) != bool(made.ssl_key_location):
        raise invalid_config('settings "ssl.certificate.location" and "ssl.key.location" go together')
    return made
