"""What the extra [fast] adds: CRC-32C, LZ4 and Zstandard. Without it everything works, but for compressing.

    pip install "millrace[fast]"
"""

from typing import Callable, Dict, Optional

from millrace.errors import ErrorCode, MillraceError, invalid_config

NONE, LZ4, ZSTD = 0, 3, 4  # millrace.v1.Codec

crc32c: Optional[Callable[..., int]] = None  # (data, value=0)
try:
    import crc32c as _crc32c

    crc32c = _crc32c.crc32c
except ImportError:
    pass

_compress: Dict[int, Callable[[bytes], bytes]] = {}
_decompress: Dict[int, Callable[[bytes, int], bytes]] = {}

try:
    import lz4.frame

    _compress[LZ4] = lz4.frame.compress
    _decompress[LZ4] = lambda data, size: lz4.frame.decompress(data)
except ImportError:
    pass

try:
    import zstandard

    _compress[ZSTD] = lambda data: zstandard.ZstdCompressor().compress(data)
    _decompress[ZSTD] = lambda data, size: zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
except ImportError:
    pass


def can_read(codec: int) -> bool:
    return codec == NONE or codec in _decompress


def require(codec: int) -> None:
    """Of a producer's setting."""
    if codec != NONE and codec not in _compress:
        raise invalid_config('setting "compression.type" needs packages that are not installed: pip install "millrace[fast]"')


def compress(codec: int, data: bytes) -> bytes:
    return _compress[codec](data)


def decompress(codec: int, data: bytes, size: int) -> bytes:
    try:
        plain = _decompress[codec](data, size)
    except Exception as error:
        raise MillraceError(ErrorCode.CORRUPT_MESSAGE, f"a batch cannot be decompressed ({error})") from error
    if len(plain) != size:
        raise MillraceError(ErrorCode.CORRUPT_MESSAGE, f"a batch has {len(plain)} bytes after decompression, its header says {size}")
    return plain
