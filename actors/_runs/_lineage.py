"""Which manifests the present state of a run descends from. Pure.

Each epoch began from one manifest of an earlier one, or from none, and wrote its own in the order of their updates. So
an ancestor of ``latest`` is a manifest of the same epoch up to it, or of an earlier epoch up to the one that the next
epoch of the line began from. What an epoch wrote past that, a trainer wrote that had been taken over, or that was
rolled back: it is on the disk, it reads well, and nothing must ever go on from it. Only the record of the epochs can
tell, so that record decides, and not the ``parent`` that a manifest tells of itself.
"""

from collections.abc import Collection, Iterable, Mapping

from tinkex.actors._runs._names import Position, parse_position


def windows(latest: str | None, began: Mapping[int, str | None]) -> dict[int, int]:
    """Return, for each epoch of the line that ends in ``latest``, the last update of it that belongs to the line.

    Args:
        latest: name of the manifest at the line's end; None is a line without one.
        began: from each epoch to the manifest that it began from.
    """
    found: dict[int, int] = {}
    position = None if latest is None else parse_position(latest)
    while position is not None:
        found[position.epoch] = position.update
        before = began.get(position.epoch)
        earlier = None if before is None else parse_position(before)
        # An epoch begins from an earlier one. A record that says otherwise is damaged, and the line ends there.
        position = earlier if earlier is not None and earlier.epoch < position.epoch else None
    return found


def ancestors(latest: str | None, began: Mapping[int, str | None], names: Iterable[str]) -> list[str]:
    """Return those of ``names`` that ``latest`` descends from, itself among them, newest first."""
    line = windows(latest, began)
    positions: set[Position] = set()
    for name in names:
        position = parse_position(name)
        if position is not None and position.update <= line.get(position.epoch, -1):
            positions.add(position)
    return [position.name for position in sorted(positions, reverse=True)]


def descends(latest: str | None, name: str, began: Mapping[int, str | None]) -> bool:
    """Say whether ``latest`` is, or descends from, the manifest ``name``."""
    return bool(ancestors(latest, began, (name,)))


def strangers(latest: str | None, began: Mapping[int, str | None], names: Collection[str]) -> list[str]:
    """Return those of ``names`` that ``latest`` does not descend from: other branches, and what zombies wrote."""
    line = set(ancestors(latest, began, names))
    return sorted(name for name in names if name not in line)
