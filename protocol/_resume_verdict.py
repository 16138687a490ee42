"""Whether a server resumes as if nothing had happened: the verdict of the three-way check. Pure."""

import math
import struct
from collections.abc import Sequence

import msgspec


class ResumeVerdict(msgspec.Struct, frozen=True):
    """What became of ``verify_resume``: uninterrupted == resumed != cold. Losses are those of each update."""

    passed: bool
    """The resume is as good as was asked for, and it is sure that this is for the optimizer's sake."""
    sentence: str
    """What was found, in one sentence."""
    exact: bool
    """Uninterrupted and resumed are the same bit for bit, each log-probability too."""
    within_tolerance: bool
    max_difference: float
    """The largest between uninterrupted and resumed, of losses and log-probabilities."""
    cold_differs: bool
    """A start from the weights alone gives other losses, beyond the tolerance; else nothing shows that the optimizer
    was restored, and the check has not passed."""
    tolerance: float
    uninterrupted: list[float]
    """After the save, by the client that saved."""
    resumed: list[float]
    """By one made from the checkpoint with its optimizer."""
    cold: list[float]
    """By one made from the checkpoint's weights alone."""


class Measured(msgspec.Struct, frozen=True):
    """What one update showed of the weights that it began with."""

    loss: float
    values: tuple[float, ...] = ()
    """Log-probabilities of all its data, in order."""


def judge_resume(
    uninterrupted: Sequence[Measured], resumed: Sequence[Measured], cold: Sequence[Measured], tolerance: float = 0.0
) -> ResumeVerdict:
    """Compare the same updates after a save, done three ways.

    Args:
        uninterrupted: by the client that saved; at least two updates, since the first shows only the weights.
        resumed: by a client made from the checkpoint with its optimizer.
        cold: by a client made from its weights alone.
        tolerance: the largest difference that is as good as none; 0 asks for the same bits.
    """
    difference = _difference(uninterrupted, resumed)
    exact = _same_bits(uninterrupted, resumed)
    within = exact or (tolerance > 0.0 and difference <= tolerance)
    cold_difference = _difference(uninterrupted, cold)
    cold_differs = cold_difference > tolerance
    finite = all(math.isfinite(one.loss) for one in uninterrupted)
    passed = within and cold_differs and finite
    if not finite:
        sentence = "inconclusive: the losses are not finite without any resume, which proves nothing"
    elif not within:
        sentence = _failed(uninterrupted, resumed, cold, tolerance)
    elif not cold_differs:
        allowed = f"the tolerance of {tolerance:g}" if tolerance > 0.0 else "the last bit"
        sentence = (
            f"inconclusive: a start from the weights alone gives the same losses up to {allowed}, so nothing shows "
            "that the optimizer was restored; take a learning rate above 0, more updates, or a smaller tolerance"
        )
    elif exact:
        sentence = (
            f"the resume is exact: its {len(uninterrupted)} updates are those of the uninterrupted run bit for bit, "
            f"and those from the weights alone are not (they differ by up to {cold_difference:.3g})"
        )
    else:
        sentence = (
            f"the resume is within the tolerance: it differs by up to {difference:.3g}, which is at most "
            f"{tolerance:g}, and a start from the weights alone by up to {cold_difference:.3g}"
        )
    losses = [[one.loss for one in way] for way in (uninterrupted, resumed, cold)]
    return ResumeVerdict(passed, sentence, exact, within, difference, cold_differs, tolerance, *losses)


def _failed(
    uninterrupted: Sequence[Measured], resumed: Sequence[Measured], cold: Sequence[Measured], tolerance: float
) -> str:
    difference = _difference(uninterrupted, resumed)
    if _difference(uninterrupted[:1], resumed[:1]) > tolerance:
        return (
            "the resume did not bring the weights back: already the first update after it differs, by "
            f"{_difference(uninterrupted[:1], resumed[:1]):.3g}"
        )
    if _difference(uninterrupted, cold) > tolerance and _difference(resumed, cold) <= tolerance:
        return (
            "the resume lost the optimizer: its losses are those of a start from the weights alone, and differ from "
            f"the uninterrupted ones by up to {difference:.3g}"
        )
    if difference == 0.0:
        return "the resume differs from the uninterrupted run in the sign of a zero"
    first = next(
        number for number, pair in enumerate(zip(uninterrupted, resumed, strict=True), 1) if _apart(*pair) > tolerance
    )
    allowed = f"beyond the tolerance of {tolerance:g}" if tolerance > 0.0 else "and was to be the same bit for bit"
    return f"the resume differs from update {first} after it on, by up to {difference:.3g}, {allowed}"


def _difference(one: Sequence[Measured], other: Sequence[Measured]) -> float:
    return max((_apart(*pair) for pair in zip(one, other, strict=True)), default=0.0)


def _apart(one: Measured, other: Measured) -> float:
    if len(one.values) != len(other.values):
        return math.inf
    pairs = zip((one.loss, *one.values), (other.loss, *other.values), strict=True)
    return max(_distance(left, right) for left, right in pairs)


def _distance(left: float, right: float) -> float:
    if left == right or (math.isnan(left) and math.isnan(right)):
        return 0.0
    return math.inf if math.isnan(left) or math.isnan(right) else abs(left - right)


def _same_bits(one: Sequence[Measured], other: Sequence[Measured]) -> bool:
    return [_bits(measured) for measured in one] == [_bits(measured) for measured in other]


def _bits(measured: Measured) -> bytes:
    """Return the bits of all its numbers; what is no number is the same, whatever its bits."""
    numbers = [math.nan if math.isnan(value) else value for value in (measured.loss, *measured.values)]
    return struct.pack(f"<{len(numbers)}d", *numbers)
