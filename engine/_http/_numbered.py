"""Reading the numbered requests of a model, so that a refused one holds up nobody behind it."""

from typing import TypeVar

from tinkex.engine._base._errors import Refusal
from tinkex.engine._http._bodies import PROTOBUF, media_type
from tinkex.engine._http._http import Http, body_of, engine_of, owner_in, read
from tinkex.engine._service import _requests
from tinkex.engine._service._requests import Order
from tinkex.protocol import TinkexError, wire

T = TypeVar("T")


async def read_numbered(request: Http, into: type[T]) -> tuple[T, bytes]:
    """Read the JSON body of a numbered request, as ``read`` does.

    Raises:
        Refusal: 400; its number, where that can be read, is passed over.
    """
    try:
        return await read(request, into)
    except Refusal:
        await pass_over(request)
        raise


async def read_pass(request: Http) -> tuple[wire.ForwardRequest | wire.ForwardBackwardRequest, bytes]:
    """Read the body of ``/forward_backward``, in either form; protobuf asks for forward passes too.

    Raises:
        Refusal: as ``read_numbered``.
    """
    if not _is_protobuf(request):
        return await read_numbered(request, wire.ForwardBackwardRequest)
    from tinkex.protocol.wire import protobuf  # noqa: PLC0415 - with the first client that speaks it

    raw, digest = await body_of(request)
    try:
        return protobuf.decode_pass(raw), digest
    except TinkexError as error:
        await pass_over(request)
        raise Refusal(400, error.message) from error


async def order_of(request: Http, model_id: str, seq_id: int, digest: bytes, operation: str) -> Order:
    """Say who asks for what under which number.

    Raises:
        Refusal: 404 or 410 where the model is not live.
    """
    return Order(await engine_of(request).model(model_id, owner_in(request)), seq_id, digest, operation)


async def pass_over(request: Http) -> None:
    """Let later numbers pass the one that a refused request has, where that can be read."""
    raw, _ = await body_of(request)
    try:
        if _is_protobuf(request):
            from tinkex.protocol.wire import protobuf  # noqa: PLC0415 - as above

            found = protobuf.numbered(raw)
        else:
            found = wire.decode(raw, wire.Numbered)
    except TinkexError:
        return
    engine = engine_of(request)
    model = engine.models.find(found.model_id)
    if model is not None and model.owner == owner_in(request):
        _requests.pass_over(engine, model, found.seq_id)


def _is_protobuf(request: Http) -> bool:
    return media_type(request.headers.get("content-type", "")) == PROTOBUF
