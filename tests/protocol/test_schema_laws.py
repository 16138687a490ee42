"""What was written yesterday is read today, and what is written today by yesterday's programs.

``golden/*.json`` holds, for each type that crosses a boundary, its fields and the exact bytes of two values: one with
every field set, one with only those that must be. ``TINKEX_WRITE_GOLDEN=1 pytest tests/protocol/test_schema_laws.py``
writes what is new (a type, a field with a default) and moves bytes that changed to ``before``, where they must be
readable for ever. It never writes over a break of the laws: whoever means one takes the entry away by hand.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pytest

from support_samples import sample, schema
from tinkex import protocol
from tinkex.protocol import (
    AdamParams,
    Datum,
    LoraConfig,
    ModelInput,
    Ok,
    TinkerPath,
    TinkexError,
    decode_message,
    decode_result,
    encode_message,
    encode_result,
    messages,
    replies,
    wire,
)
from tinkex.protocol._policy import Policy

GOLDEN = Path(__file__).parent / "golden"
OPEN_MAPS = {
    "build",
    "error",
    "loss_fn_config",
    "loss_fn_inputs",
    "loss_fn_outputs",
    "metrics",
    "optimizer_config",
    "optimizer_params",
    "urls",
    "user_metadata",
}
"""Objects whose keys are the user's or the server's: a key there is data, never an unknown field."""

Kind = type[msgspec.Struct]


class Family(NamedTuple):
    kinds: dict[str, Kind]
    write: Callable[[Any], bytes]
    read: Callable[[bytes, Kind], Any]
    closed: bool = False
    """Whether a field that nobody knows makes the bytes unreadable, instead of being passed over."""


def structs(module: Any) -> dict[str, Kind]:
    named = {name: getattr(module, name) for name in module.__all__}
    return {name: kind for name, kind in named.items() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)}


MESSAGES = structs(messages)
LOCAL = MESSAGES.pop("StartChild"), protocol.ChildSpec
"""They hold a class and its arguments, and have no bytes: ``test_message_codec`` sees them refused."""


def read_message(body: bytes, _kind: Kind) -> Any:
    return decode_message(body)


def write_reply(value: Any) -> bytes:
    return encode_result(Ok(value))


def read_reply(body: bytes, _kind: Kind) -> Any:
    return decode_result(body).unwrap()


FAMILIES = {
    "messages": Family(MESSAGES, encode_message, read_message),
    "replies": Family(structs(replies), write_reply, read_reply),
    "values": Family(
        {kind.__name__: kind for kind in (AdamParams, Datum, LoraConfig, ModelInput)}, wire.encode, wire.decode
    ),
    "wire": Family(structs(wire), wire.encode, wire.decode),
    "disk": Family({"Manifest": protocol.Manifest}, wire.encode, wire.decode, closed=True),
}


def entry_of(family: Family, kind: Kind) -> dict[str, Any]:
    full, least = (family.write(sample(kind, full=full)).decode() for full in (True, False))
    return {"fields": schema(kind), "full": full, "least": least, "before": []}


def breaks(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """What in ``new`` keeps a reader or a writer of ``old`` from being understood."""
    found = [f"{name} is gone" for name in old if name not in new]
    found += [
        f"{name} was {old[name]!r} and is {new[name]!r}" for name in old if name in new and old[name] != new[name]
    ]
    found += [f"{name} is new and has no default" for name in new if name not in old and " = " not in new[name]]
    kept = [name for name in new if name in old]
    if not found and kept != list(old):
        found.append(f"the order was {list(old)} and is {kept}: users write and match by position")
    return found


def renewed(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    if old is None:
        return new
    if breaks(old["fields"], new["fields"]):
        return old
    now = {new["full"], new["least"]}
    gone = [old[key] for key in ("full", "least") if old[key] not in now and old[key] not in old["before"]]
    return {**new, "before": old["before"] + gone}


def recorded() -> dict[str, dict[str, Any]]:
    if os.environ.get("TINKEX_WRITE_GOLDEN") == "1":
        for name, family in FAMILIES.items():
            path = GOLDEN / f"{name}.json"
            old: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
            new = {kind: renewed(old.get(kind), entry_of(family, family.kinds[kind])) for kind in sorted(family.kinds)}
            path.write_text(json.dumps(new, indent=2, ensure_ascii=False) + "\n")
    return {name: json.loads((GOLDEN / f"{name}.json").read_text()) for name in FAMILIES}


RECORDED = recorded()
CASES = [(family, name) for family in FAMILIES for name in FAMILIES[family].kinds]
each = pytest.mark.parametrize(("family", "name"), CASES, ids=[f"{family}-{name}" for family, name in CASES])


def case(family: str, name: str) -> tuple[Family, Kind, dict[str, Any]]:
    return FAMILIES[family], FAMILIES[family].kinds[name], RECORDED[family][name]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_type_that_crosses_a_boundary_has_golden_bytes_and_no_other_has(family: str) -> None:
    assert set(RECORDED[family]) == set(FAMILIES[family].kinds), "write them: TINKEX_WRITE_GOLDEN=1"


def test_every_struct_that_the_room_exports_stands_in_a_family() -> None:
    """Ok and Err stand around a reply in ``encode_result``; a path is written as its text; a base has no bytes.

    Policies, which a configuration describes by ``from_dict``, and what callbacks are given stay in their process.
    """
    told = {protocol.QueueStateChange, protocol.Recovered, protocol.RecoveryFailed, protocol.RecoveryPolicy}
    policies = {kind for kind in structs(protocol).values() if issubclass(kind, Policy)}
    elsewhere = {protocol.Ok, protocol.Err, protocol.Request, TinkerPath, *told, *policies, *LOCAL}
    everywhere = {kind for family in FAMILIES.values() for kind in family.kinds.values()}
    assert set(structs(protocol).values()) <= everywhere | elsewhere


@each
def test_fields_are_never_taken_away_renamed_retyped_moved_or_added_without_a_default(family: str, name: str) -> None:
    _, kind, entry = case(family, name)
    assert breaks(entry["fields"], schema(kind)) == []
    assert entry["fields"] == schema(kind), "a new field: write it down with TINKEX_WRITE_GOLDEN=1"


@each
def test_values_have_exactly_these_bytes_and_are_read_from_them(family: str, name: str) -> None:
    codec, kind, entry = case(family, name)
    for form in ("full", "least"):
        value = sample(kind, full=form == "full")
        assert codec.write(value).decode() == entry[form]
        assert codec.read(entry[form].encode(), kind) == value
        assert type(codec.read(entry[form].encode(), kind)) is kind


@each
def test_the_bytes_of_older_writers_are_read(family: str, name: str) -> None:
    codec, kind, entry = case(family, name)
    for body in entry["before"]:
        assert isinstance(codec.read(body.encode(), kind), kind)


@each
def test_a_field_that_an_older_writer_lacks_is_its_default(family: str, name: str) -> None:
    codec, kind, entry = case(family, name)
    full = sample(kind, full=True)
    for field in msgspec.structs.fields(kind):
        if field.required:
            continue
        tree = json.loads(entry["full"])
        own_fields(family, tree).pop(field.name, None)
        default = msgspec.structs.replace(full, **{field.name: default_of(field)})
        assert codec.read(json.dumps(tree).encode(), kind) == default


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is msgspec.NODEFAULT:
        return field.default
    return cast("Callable[[], Any]", field.default_factory)()


def own_fields(family: str, tree: Any) -> dict[str, Any]:
    """The object that holds the type's own fields, inside of what says which type it is."""
    if family == "messages":
        return cast("dict[str, Any]", tree["fields"])
    return cast("dict[str, Any]", tree["ok"]["fields"] if family == "replies" else tree)


@each
def test_what_a_newer_writer_adds_at_any_depth_is_passed_over_or_refused_where_it_must_be(
    family: str, name: str
) -> None:
    codec, kind, entry = case(family, name)
    for form in ("full", "least"):
        tree = json.loads(entry[form])
        added: list[str] = []
        grown = json.dumps(grow(tree, added)).encode()
        assert added
        if codec.closed:
            with pytest.raises(TinkexError, match="new_field"):
                codec.read(grown, kind)
            continue
        assert codec.read(grown, kind) == sample(kind, full=form == "full")


def grow(tree: Any, added: list[str], *, is_map: bool = False) -> Any:
    """Give every object in ``tree`` a field that nobody knows."""
    if isinstance(tree, list):
        return [grow(item, added, is_map=is_map) for item in cast("list[object]", tree)]
    if not isinstance(tree, dict):
        return tree
    fields = cast("dict[str, Any]", tree)
    if is_map:  # its own keys stay; tensors inside of it may grow
        return {key: grow(item, added) if is_tensor(item) else item for key, item in fields.items()}
    added.append("new_field")
    grown = {key: grow(item, added, is_map=key in OPEN_MAPS) for key, item in fields.items()}
    return {"a_new_field": [{"deep": None}], **grown, "new_field": {"a": [None, 1.5]}}


def is_tensor(item: Any) -> bool:
    return isinstance(item, dict) and "dtype" in item


@pytest.mark.parametrize(
    ("old", "new", "broken"),
    [
        ({"a": "string"}, {"a": "string"}, ""),
        ({"a": "string"}, {"a": "string", "b": "integer = 1"}, ""),
        ({"a": "string"}, {"a": "string", "b": "integer"}, "b is new and has no default"),
        ({"a": "string", "b": "string"}, {"a": "string"}, "b is gone"),
        ({"a": "string"}, {"c": "string"}, "a is gone"),
        ({"a": "string"}, {"a": "string | null"}, "a was 'string' and is 'string | null'"),
        ({"a": "integer = 1"}, {"a": "integer = 2"}, "a was 'integer = 1'"),
        ({"a": "string", "b": "string"}, {"b": "string", "a": "string"}, "the order was"),
    ],
)
def test_the_law_names_each_break(old: dict[str, str], new: dict[str, str], broken: str) -> None:
    assert broken in " ".join(breaks(old, new))
    assert bool(breaks(old, new)) == bool(broken)


def test_writing_keeps_older_bytes_and_never_writes_over_a_break() -> None:
    old: dict[str, Any] = {"fields": {"a": "string"}, "full": "{1}", "least": "{2}", "before": ["{0}"]}
    fields = {"a": "string", "b": "integer = 1"}
    added: dict[str, Any] = {"fields": fields, "full": "{3}", "least": "{2}", "before": []}
    assert renewed(old, added) == {**added, "before": ["{0}", "{1}"]}
    assert renewed(old, {**added, "fields": {"b": "string"}}) == old
    assert renewed(None, added) == added


@each
def test_bytes_without_a_field_that_must_be_there_are_refused_by_its_name(family: str, name: str) -> None:
    codec, kind, entry = case(family, name)
    for field in msgspec.structs.fields(kind):
        if not field.required:
            continue
        tree = json.loads(entry["full"])
        del own_fields(family, tree)[field.name]
        with pytest.raises(TinkexError, match=field.name) as caught:
            codec.read(json.dumps(tree).encode(), kind)
        assert caught.value.kind == "protocol"
