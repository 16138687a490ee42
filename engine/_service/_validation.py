"""What a request may ask for: pure checks, each ending in a 400 that names the field."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, cast

from tinkex.engine._base._catalogue import BaseModel
from tinkex.engine._base._errors import Refusal
from tinkex.protocol import AdamParams, Datum, TinkerPath, TinkexError, check_data, wire

MAX_SEQ_ID: Final = 2**31 - 1
MAX_NUMBER: Final = 2**63 - 1
MAX_TTL: Final = 10 * 366 * 24 * 3600
"""Ten years."""

MAX_ADAM: Final = 1e18
"""With learning rate and decay up to here, everything that a step multiplies by is a float32."""

MAX_DIMENSIONS: Final = 2
"""Of targets: tokens, and how many for each."""

_RUN_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,255}")


class LossRule(NamedTuple):
    """What a loss reads."""

    inputs: frozenset[str]
    config: frozenset[str]


_POLICY_INPUTS: Final = frozenset({"target_tokens", "logprobs", "advantages", "weights"})
_CLIPS: Final = frozenset({"clip_low_threshold", "clip_high_threshold"})

LOSS_RULES: Final[Mapping[str, LossRule]] = {
    "cross_entropy": LossRule(frozenset({"target_tokens", "weights"}), frozenset()),
    "importance_sampling": LossRule(_POLICY_INPUTS, frozenset()),
    "ppo": LossRule(_POLICY_INPUTS, _CLIPS),
    "cispo": LossRule(_POLICY_INPUTS, _CLIPS),
    "dro": LossRule(_POLICY_INPUTS, frozenset({"beta"})),
}

_UNPUBLISHED: Final = frozenset({"gspo", "stable_reinforce"})
"""Losses of the hosted service whose formulas are not public."""


def check(error: TinkexError | None) -> None:
    """Refuse what a check of the protocol found."""
    if error is not None:
        raise Refusal(400, error.message)


def check_adam(params: AdamParams) -> None:
    """Refuse parameters of a step that are out of range, or overflow the weights' type in themselves."""
    check(params.check())
    for name in ("learning_rate", "weight_decay", "eps"):
        if getattr(params, name) > MAX_ADAM:
            raise Refusal(400, f"{name} must be at most {MAX_ADAM:g}, not {getattr(params, name):g}")


def check_seq_id(seq_id: int) -> None:
    """Refuse numbers that no request may have."""
    if not 1 <= seq_id <= MAX_SEQ_ID:
        raise Refusal(400, f"seq_id must be 1 to {MAX_SEQ_ID}, not {seq_id}")


def check_number(name: str, number: int) -> None:
    """Refuse numbers that no request outside a model's order may have."""
    if not 0 <= number <= MAX_NUMBER:
        raise Refusal(400, f"{name} must be 0 to {MAX_NUMBER}, not {number}")


def check_ttl(ttl_seconds: int | None) -> None:
    """Refuse times to live that end at once or never."""
    if ttl_seconds is not None and not 1 <= ttl_seconds <= MAX_TTL:
        raise Refusal(400, f"ttl_seconds must be 1 to {MAX_TTL} or null, not {ttl_seconds}")


def check_name(field: str, name: str) -> None:
    """Refuse a checkpoint name that is not plain."""
    try:
        TinkerPath.check_name(name)
    except TinkexError as error:
        raise Refusal(400, f"{field}: {error.message}") from error


def parse_path(field: str, text: str) -> TinkerPath:
    """Read a checkpoint's path."""
    try:
        return TinkerPath.parse(text)
    except TinkexError as error:
        raise Refusal(400, f"{field}: {error.message}") from error


def parse_training_path(field: str, text: str) -> TinkerPath:
    """Read a path of kind ``weights``, the only ones to train on."""
    path = parse_path(field, text)
    if path.kind != "weights":
        twin = f"; its training twin would be {path.twin()}" if path.kind == "sampler_weights" else ""
        raise Refusal(400, f"{field} must be of kind 'weights', not {str(path)!r}{twin}")
    return path


def parse_address(run: str, kind: str, name: str) -> TinkerPath:
    """Read a checkpoint's address from the segments of a URL."""
    if not _RUN_ID.fullmatch(run):
        raise Refusal(404, "no such training run")
    return parse_path("checkpoint", f"tinker://{run}/{kind}/{name}")


def check_pass(work: wire.ForwardBackwardInput, base: BaseModel) -> Mapping[str, float]:
    """Refuse what cannot be computed; return the loss's configuration."""
    rule = LOSS_RULES.get(work.loss_fn)
    if work.loss_fn in _UNPUBLISHED:
        known = ", ".join(LOSS_RULES)
        raise Refusal(400, f"loss_fn {work.loss_fn!r} has no published formula, so it is not guessed; known: {known}")
    if work.loss_fn == "custom":
        raise Refusal(400, "loss_fn 'custom' on the server is not supported; compute it in the client instead")
    if rule is None:
        raise Refusal(400, f"unknown loss_fn {work.loss_fn[:64]!r}; known: {', '.join(LOSS_RULES)}")
    check(check_data(work.data, work.loss_fn, work.loss_fn_config))
    config = cast("Mapping[str, float]", work.loss_fn_config or {})
    for key in config:
        if key not in rule.config:
            raise Refusal(400, f"loss_fn_config[{key!r}] is not read by {work.loss_fn}")
    if config.get("clip_low_threshold", 0.0) > config.get("clip_high_threshold", float("inf")):
        raise Refusal(400, "loss_fn_config: clip_low_threshold is above clip_high_threshold")
    for index, datum in enumerate(work.data):
        problem = _datum_problem(datum, rule, base)
        if problem is not None:
            raise Refusal(400, f"data[{index}].{problem}")
    return config


def _datum_problem(datum: Datum, rule: LossRule, base: BaseModel) -> str | None:
    """Say what of a datum this base model cannot take."""
    length, limit, vocab = datum.model_input.length, base.max_context_length, base.vocab_size
    if length > limit:
        return f"model_input has {length} tokens; {base.name} takes {limit}"
    for name, tensor in datum.loss_fn_inputs.items():
        if name not in rule.inputs:
            return f"loss_fn_inputs[{name!r}] is not read by this loss"
        if len(tensor.shape) > MAX_DIMENSIONS:
            return f"loss_fn_inputs[{name!r}] has shape {list(tensor.shape)}; [T] and [T, K] are supported"
    tokens = {f"model_input.chunks[{index}]": chunk.tokens for index, chunk in enumerate(datum.model_input.chunks)}
    for field, tensor in {**tokens, "loss_fn_inputs['target_tokens']": datum.loss_fn_inputs["target_tokens"]}.items():
        highest = int(tensor.to_numpy().max(initial=0))
        if highest >= vocab:
            return f"{field} has token {highest}; {base.name} knows 0 to {vocab - 1}"
    return None
