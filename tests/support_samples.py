"""Values of any protocol type, made from its fields alone, so that a new field or type needs no sample of its own."""

import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from support_protocol import datum
from tinkex.protocol import Datum, ModelInput, TensorData

_BY_NAME: dict[str, Any] = {
    "await_timeout": 2.5,
    "data": [datum()],
    "key": None,
    "loss_fn": "cross_entropy",
    "loss_fn_config": {"beta": 0.5},
    "path": "tinker://run:train:0/weights/ckpt-001",
    "train_unembed": True,
}
"""What ``check`` asks of some fields."""

_BY_TYPE: dict[Any, Any] = {
    bool: True,
    int: 7,
    float: 0.125,
    Any: {"k": [None, 1]},
    Datum: datum(),
    ModelInput: ModelInput.from_ints([1, 2, 3]),
    TensorData: TensorData([1.5, -0.25]),
}


def sample(kind: Any, *, full: bool, inside: tuple[Any, ...] = ()) -> Any:
    """Build a value of which every field is set, or only those that must be; what holds its own kind, to one level."""
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    fields = [field for field in msgspec.structs.fields(kind) if field.required or (full and kind not in inside)]
    return kind(**{field.name: _field(field, (*inside, kind)) for field in fields})


def _field(field: msgspec.structs.FieldInfo, inside: tuple[Any, ...]) -> Any:
    if field.default is True and field.name not in _BY_NAME:
        return False
    return _value(field.type, field.name, inside)


def _value(kind: Any, name: str, inside: tuple[Any, ...]) -> Any:
    if name in _BY_NAME:
        return _BY_NAME[name]
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    if kind is str:
        return "ckpt-001" if name in {"name", "run_id"} else f"a {name}"
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _value(next(one for one in arguments if one is not type(None)), name, inside)
    if origin is Literal:
        return arguments[-1]
    if origin in (dict, Mapping):
        return {"k": _value(arguments[1], name, inside)}
    if origin in (list, Sequence):
        return [_value(arguments[0], name, inside)]
    if origin is tuple and arguments[-1] is Ellipsis:
        return (_value(arguments[0], name, inside),)
    if origin is tuple:
        return tuple(_value(one, name, inside) for one in arguments)
    return sample(kind, full=True, inside=inside)


def schema(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Describe each field in a line: its type, and its default where it has one."""
    _, parts = msgspec.json.schema_components([kind], ref_template="{name}", schema_hook=_foreign)
    properties: dict[str, Any] = parts[kind.__name__]["properties"]
    return {field.name: _line(properties[field.name], field.required) for field in msgspec.structs.fields(kind)}


def _foreign(kind: type) -> dict[str, Any]:
    return {"$ref": kind.__name__}


def _line(described: dict[str, Any], required: bool) -> str:
    if required:
        return _type_line(described)
    default = msgspec.json.encode(described["default"]).decode() if "default" in described else "made anew"
    return f"{_type_line(described)} = {default}"


def _type_line(described: dict[str, Any]) -> str:
    match described:
        case {"$ref": str(name)}:
            return name
        case {"anyOf": alternatives}:
            return " | ".join(_type_line(one) for one in alternatives)
        case {"enum": values}:
            return " | ".join(repr(value) for value in values)
        case {"type": "array", "items": items} if items:
            return f"[{_type_line(items)}]"
        case {"type": "array", "prefixItems": items}:
            return f"[{', '.join(_type_line(one) for one in items)}]"
        case {"type": "object", "additionalProperties": values}:
            return f"{{{_type_line(values)}}}"
        case {"type": str(name)}:
            return name
        case _:
            return "any"
