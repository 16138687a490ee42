"""Large bodies for a server far away, packed where it takes that."""

from collections.abc import Mapping
from typing import Final

import msgspec

from tinkex.actors._leases._acquire import SDK_VERSION
from tinkex.actors._transport import HttpReply, Transport
from tinkex.protocol import TinkexError, wire

ASK_SECONDS: Final = 10.0
_NOT_OK: Final = 300
_SERVER_FAILS: Final = 500
_PLAIN: Final[Mapping[str, str]] = {}
_ZSTD: Final[Mapping[str, str]] = {"content-encoding": "zstd"}


class Packed(msgspec.Struct, frozen=True):
    """A body as it is sent, and the headers that say so."""

    body: bytes
    headers: Mapping[str, str]


async def pack(transport: Transport, body: bytes) -> Packed:
    """Return ``body``, which is protobuf, as one zstd frame where the server takes it and the way is long enough.

    Whether it takes it is asked once, when the first body comes that is worth it: ``proto_compress_fwdbwd`` of
    ``client/config``. On the io loop, which it holds for about 2 ms for each megabyte.
    """
    if transport.local or transport.profile.takes_zstd is False:
        return Packed(body, _PLAIN)
    from tinkex.protocol.wire.zstd import compress  # noqa: PLC0415 - only where it may be of use

    frame = compress(body)
    if frame is None or not await _takes_zstd(transport):
        return Packed(body, _PLAIN)
    return Packed(frame, _ZSTD)


async def _takes_zstd(transport: Transport) -> bool:
    profile = transport.profile
    if profile.takes_zstd is None:
        asked = wire.encode(wire.ClientConfigRequest(sdk_version=SDK_VERSION))
        attempt = await transport.beat("/api/v1/client/config", asked, read_seconds=ASK_SECONDS)
        if not isinstance(attempt, HttpReply) or attempt.status >= _SERVER_FAILS:
            return False  # it is asked again with the next
        profile.takes_zstd = attempt.status < _NOT_OK and _says_so(attempt.body)
    return profile.takes_zstd


def _says_so(body: bytes) -> bool:
    try:
        return wire.decode(body, wire.ClientConfigReply).proto_compress_fwdbwd is True
    except TinkexError:
        return False
