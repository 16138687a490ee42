"""The description of the HTTP interface in OpenAPI 3.1, made from the routes and the wire's own types."""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from litestar.handlers import HTTPRouteHandler

from tinkex.engine._http._bodies import JSON, PROTOBUF
from tinkex.engine._http._http import WireTypes
from tinkex.protocol import TensorData, wire
from tinkex.protocol._model_input import EncodedTextChunk

Schema = dict[str, Any]

DOCUMENT: Final = "/openapi.json"

_REF: Final = "#/components/schemas/{name}"
_SEGMENT: Final = re.compile(r"{(\w+):str}")
_NUMBER: Final[Schema] = {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
_CUSTOM: Final[dict[type, Schema]] = {
    TensorData: {
        "type": "object",
        "description": "A tensor's values in C order, as one flat list.",
        "properties": {
            "data": {"type": "array", "items": _NUMBER},
            "dtype": {"enum": ["float32", "int64"]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        },
        "required": ["data", "dtype"],
    },
    EncodedTextChunk: {
        "type": "object",
        "description": "Tokens of text.",
        "properties": {
            "tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "type": {"const": "encoded_text"},
        },
        "required": ["tokens", "type"],
    },
}


def describe(routes: Iterable[HTTPRouteHandler], version: str) -> Schema:
    """Return the description of ``routes``, each of which says in ``opt`` what it reads and answers."""
    known = [(route, types_of(route)) for route in routes]
    named: list[type] = [wire.ErrorReply]
    named += [kind for _, types in known for kind in (types.answer, types.body) if _is_struct(kind) and kind]
    _, components = msgspec.json.schema_components(list(dict.fromkeys(named)), schema_hook=_custom, ref_template=_REF)
    paths: Schema = {}
    for route, types in known:
        for path in route.paths:
            operations = paths.setdefault(_SEGMENT.sub(r"{\1}", path), {})
            for method in route.http_methods:
                operations[method.lower()] = _operation(route, types, _SEGMENT.findall(path))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tinkex engine", "version": version, "description": "A Tinker-compatible training service."},
        "paths": paths,
        "components": {
            "schemas": {name: _tidy(name, schema) for name, schema in components.items()},
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
        },
        "security": [{"key": []}],
    }


def types_of(route: HTTPRouteHandler) -> WireTypes:
    """Return what a route says of its types."""
    found: WireTypes = route.opt["wire"]
    return found


def _operation(route: HTTPRouteHandler, types: WireTypes, segments: list[str]) -> Schema:
    parameters: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in segments
    ]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in types.query.items()]
    answer: Schema = {"description": "done"}
    if types.answer is not None:
        answer["content"] = {JSON: {"schema": _schema(types.answer)}}
    error = {"description": "refused", "content": {JSON: {"schema": _schema(wire.ErrorReply)}}}
    operation: Schema = {
        "operationId": route.handler_name.rpartition(".")[2],
        "summary": (route.fn.__doc__ or "").partition("\n")[0],
        "parameters": parameters,
        "responses": {**{str(status): answer for status in types.statuses}, "4XX": error, "503": error},
    }
    if types.body is not None:
        content: Schema = {JSON: {"schema": _schema(types.body)}}
        if types.protobuf:
            content[PROTOBUF] = {"schema": {}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _custom(kind: type) -> Schema:
    return _CUSTOM[kind]


def _schema(kind: type) -> Schema:
    return {"$ref": _REF.format(name=kind.__name__)} if _is_struct(kind) else {"type": "object"}


def _is_struct(kind: type | None) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _tidy(name: str, schema: Schema) -> Schema:
    """Keep the first paragraph of a description; metrics that are not finite are words."""
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].partition("\n\n")[0].split())
    metrics = schema.get("properties", {}).get("metrics")
    if metrics is not None and name == "ForwardBackwardResult":
        metrics["additionalProperties"] = _NUMBER
    return schema
