"""What processes that are gone have left on the server: found in the state folder and made leases again."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from tinkex.actors._leases._lease import SESSION_EXPIRES_SECONDS, Lease, LeaseBook
from tinkex.actors._leases._ledger import Ledger
from tinkex.actors._leases._ledger_file import LedgerFile, files_in, is_draft, read_file
from tinkex.actors._leases._ledger_records import FORMAT, FoundDead, Header, Held, HeldSession, read
from tinkex.actors._leases._process import Process
from tinkex.actors._leases._session import Session
from tinkex.actors._runtime._log import log
from tinkex.protocol import LoraConfig
from tinkex.protocol.replies import LeaseReport


class Left(msgspec.Struct, eq=False):
    """A ledger of a process that is gone, which is another client's to take over."""

    path: Path
    reports: list[LeaseReport]


class Estate(msgspec.Struct):
    """What was found in a state folder."""

    ledgers: list[Ledger] = msgspec.field(default_factory=list[Ledger])
    """Held by this process now."""

    leases: list[Lease] = msgspec.field(default_factory=list[Lease])
    """A lease for each session, ``releasing`` already."""

    left: list[Left] = msgspec.field(default_factory=list[Left])


def inherit(folder: Path, book: LeaseBook, base_url: str, now: Callable[[], float]) -> Estate:
    """Take over what clients of ``base_url`` left in ``folder`` when their processes went.

    Files that a living process holds, and those of other machines, are not touched. Of two that look at once, one gets
    a file. Reads files; sends nothing.
    """
    estate = Estate()
    try:
        paths = list(files_in(folder))
    except OSError as error:
        log(state_dir=str(folder)).warning("state folder not read", error=error.strerror)
        return estate
    for path in paths:
        _look_at(path, estate, book, base_url, now)
    if estate.leases:
        log(state_dir=str(folder)).warning("sessions of processes that are gone are released", count=len(estate.leases))
    return estate


def _look_at(path: Path, estate: Estate, book: LeaseBook, base_url: str, now: Callable[[], float]) -> None:
    raw = read_file(path)
    held = read(raw)
    header = held.header
    if header is None:
        if is_draft(path) or b"\n" not in raw:
            _sweep(path)
        else:
            log(ledger=str(path)).warning("ledger left alone: it cannot be read")
    elif is_draft(path):
        _sweep(path)
    elif header.format > FORMAT or not writer_of(header).is_here():
        log(ledger=str(path)).info("ledger left alone", host=header.host, format=header.format)
    elif header.base_url != base_url:
        if held.sessions and writer_of(header).is_gone():
            estate.left.append(Left(path, list(_reports(held, header))))
            log(ledger=str(path)).warning("ledger left for a client of its server", base_url=header.base_url)
    else:
        _take_over(path, estate, book, now)


def _sweep(path: Path) -> None:
    taken = LedgerFile.take(path)
    if taken is not None:
        file, raw = taken
        if is_draft(path) or b"\n" not in raw:
            file.remove()
        else:
            file.close()


def _take_over(path: Path, estate: Estate, book: LeaseBook, now: Callable[[], float]) -> None:
    taken = LedgerFile.take(path)
    if taken is None:
        return
    file, raw = taken
    held = read(raw)
    ledger = Ledger(file, held, now, inherited=True)
    found_dead = held.found_dead if held.found_dead is not None else now()
    ledger.note(FoundDead(found_dead))
    estate.ledgers.append(ledger)
    for session in held.sessions.values():
        estate.leases.append(_lease_of(session, held.header, ledger, found_dead + SESSION_EXPIRES_SECONDS, book))


def _lease_of(held: HeldSession, header: Header | None, ledger: Ledger, expires: float, book: LeaseBook) -> Lease:
    intent = held.intent
    session = Session(
        intent.tags,
        intent.user_metadata,
        idempotency_key=intent.key,
        session_id=held.session_id,
        asked=True,
        expires=expires,
        ledger=ledger,
    )
    numbers = itertools.count(1)
    inside = tuple(
        Lease(
            next(numbers),
            session,
            False,
            number,
            model.intent.base_model,
            model.intent.lora,
            model.intent.user_metadata,
            model.intent.at,
            asked=True,
            model_id=model.model_id,
        )
        for number, model in held.models.items()
    )
    return Lease(
        book.next_number(),
        session,
        owns_session=True,
        model_seq_id=-1,
        base_model="",
        lora=LoraConfig(),
        user_metadata=None,
        since=intent.at,
        inside=inside,
        state="releasing",
        reason=_left_by(header),
    )


def _reports(held: Held, header: Header) -> Iterator[LeaseReport]:
    for session in held.sessions.values():
        models = [model.model_id for model in session.models.values()]
        yield LeaseReport(
            model_id=models[0] if len(models) == 1 else None,
            session_id=session.session_id,
            state="left",
            since=session.intent.at,
            reason=f"{_left_by(header)}; start a client of {header.base_url} with this state_dir to release it",
        )


def _left_by(header: Header | None) -> str:
    return f"left by process {header.pid if header is not None else '?'}, which is gone"


def writer_of(header: Header) -> Process:
    """Return the process that began a ledger."""
    return Process(header.host, header.boot, header.pid, header.started)
