"""Ledgers against a model, over random histories of intents, losses, crashes and successors.

The processes are books in one folder. A crash lets go of the file as the kernel does for a killed process, with a torn
line behind it or without. Two servers, so that a successor may be another's.
"""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tinkex.actors._leases._lease import Lease, LeaseBook
from tinkex.actors._leases._ledger import Ledger, open_ledger
from tinkex.actors._leases._ledger_records import read
from tinkex.actors._leases._predecessors import inherit
from tinkex.actors._leases._session import Session
from tinkex.protocol import LoraConfig

SERVERS = ("http://127.0.0.1:1", "http://127.0.0.1:2")
What = dict[str, set[int]]
"""Sessions by their key, and the numbers of the models that may be in them."""


@dataclass
class Client:
    """A process, and what it holds by the model."""

    server: str
    ledger: Ledger
    book: LeaseBook
    sessions: dict[str, Session] = field(default_factory=dict[str, Session])
    leases: dict[tuple[str, int], Lease] = field(default_factory=dict[tuple[str, int], Lease])
    estate: list[Ledger] = field(default_factory=list[Ledger])
    inherited: dict[str, Lease] = field(default_factory=dict[str, Lease])

    def holds(self) -> What:
        held: What = {key: set() for key in self.sessions}
        for key, number in self.leases:
            held[key].add(number)
        return held


class Machine(RuleBasedStateMachine):
    """What was intended and is not released is found by whoever comes next, and nothing of the living is."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="tinkex-ledgers-"))
        self.living: list[Client] = []
        self.orphans: dict[str, What] = {server: {} for server in SERVERS}
        self.time = 0.0
        self.numbers = 0

    def teardown(self) -> None:
        for client in self.living:
            for ledger in (client.ledger, *client.estate):
                ledger.reset_after_fork()
        shutil.rmtree(self.folder)

    @precondition(lambda self: len(self.living) < 4)
    @rule(server=st.sampled_from(SERVERS))
    def start(self, server: str) -> None:
        ledger = open_ledger(str(self.folder), server, self.now)
        client = Client(server, ledger, LeaseBook(ledger))
        estate = inherit(self.folder, client.book, server, self.now)
        found = {lease.session.idempotency_key: {one.model_seq_id for one in lease.inside} for lease in estate.leases}
        assert found == self.orphans[server], "all of the dead, and nothing of the living"
        client.estate = estate.ledgers
        for lease in estate.leases:
            assert lease.state == "releasing"
            assert lease.reason
            client.book.inherit(lease)
            client.inherited[lease.session.idempotency_key] = lease
        self.orphans[server] = {}
        self.living.append(client)

    @precondition(lambda self: self.living)
    @rule(data=st.data(), opened=st.booleans())
    def ask_for_a_session(self, data: st.DataObject, opened: bool) -> None:
        client = self.one(data)
        session = client.book.open_session(["t"], {"who": "me"})
        client.sessions[session.idempotency_key] = session
        if opened:
            session.opened(f"s-{session.idempotency_key}")

    @precondition(lambda self: any(client.sessions for client in self.living))
    @rule(data=st.data(), opened=st.booleans(), owns=st.booleans())
    def ask_for_a_model(self, data: st.DataObject, opened: bool, owns: bool) -> None:
        client = data.draw(st.sampled_from([client for client in self.living if client.sessions]))
        session = client.sessions[data.draw(st.sampled_from(list(client.sessions)))]
        self.numbers += 1
        owns = owns and not client.holds()[session.idempotency_key]
        lease = client.book.intend(
            session,
            owns_session=owns,
            model_seq_id=self.numbers,
            base_model="m",
            lora=LoraConfig(),
            user_metadata=None,
            since=self.time,
        )
        client.leases[session.idempotency_key, self.numbers] = lease
        if opened:
            lease.opened(f"m-{self.numbers}")

    @precondition(lambda self: any(client.leases for client in self.living))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from([client for client in self.living if client.leases]))
        place = data.draw(st.sampled_from(list(client.leases)))
        lease = client.leases.pop(place)
        client.book.close(lease)
        if lease.owns_session:
            self.forget(client, place[0])

    @precondition(lambda self: any(client.sessions for client in self.living))
    @rule(data=st.data())
    def lose_or_finish(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from([client for client in self.living if client.sessions]))
        key = data.draw(st.sampled_from(list(client.sessions)))
        client.book.close_session(client.sessions[key])
        self.forget(client, key)

    @precondition(lambda self: any(client.inherited for client in self.living))
    @rule(data=st.data(), how=st.sampled_from(["confirmed", "not ours"]))
    def release_what_was_inherited(self, data: st.DataObject, how: str) -> None:
        client = data.draw(st.sampled_from([client for client in self.living if client.inherited]))
        key = data.draw(st.sampled_from(list(client.inherited)))
        if how == "confirmed":
            client.book.close(client.inherited.pop(key))
            return
        ledger = client.inherited[key].session.ledger
        together = [one for one, lease in client.inherited.items() if lease.session.ledger is ledger]
        for one in together:  # another client may have them once none of the file is waited for
            lease = client.inherited.pop(one)
            self.orphans[client.server][one] = {model.model_seq_id for model in lease.inside}
            assert ledger is not None
            ledger.leave(one)

    @precondition(lambda self: self.living)
    @rule(data=st.data(), torn=st.binary(max_size=30))
    def crash(self, data: st.DataObject, torn: bytes) -> None:
        client = self.one(data)
        self.living.remove(client)
        self.orphans[client.server].update(client.holds())
        self.leave_inherited(client)
        with client.ledger.path.open("ab") as file:
            file.write(torn.replace(b"\n", b""))
        for ledger in (client.ledger, *client.estate):
            ledger.reset_after_fork()

    @precondition(lambda self: self.living)
    @rule(data=st.data(), confirmed=st.booleans())
    def stop(self, data: st.DataObject, confirmed: bool) -> None:
        client = self.one(data)
        self.living.remove(client)
        if confirmed:
            for session in list(client.sessions.values()):
                client.book.close_session(session)
                self.forget(client, session.idempotency_key)
        self.orphans[client.server].update(client.holds())
        self.leave_inherited(client)
        for ledger in (client.ledger, *client.estate):
            ledger.end()

    @invariant()
    def the_folder_holds_what_may_be_on_a_server(self) -> None:
        expected: dict[str, What] = {server: dict(found) for server, found in self.orphans.items()}
        for client in self.living:
            expected[client.server].update(client.holds())
            for key, lease in client.inherited.items():
                expected[client.server][key] = {model.model_seq_id for model in lease.inside}
        found: dict[str, What] = {server: {} for server in SERVERS}
        for path in self.folder.iterdir():
            held = read(path.read_bytes())
            assert held.header is not None
            for key, session in held.sessions.items():
                found[held.header.base_url][key] = set(session.models)
        assert found == expected

    def now(self) -> float:
        return self.time

    def leave_inherited(self, client: Client) -> None:
        for key, lease in client.inherited.items():
            self.orphans[client.server][key] = {model.model_seq_id for model in lease.inside}

    def one(self, data: st.DataObject) -> Client:
        client: Any = data.draw(st.sampled_from(self.living))
        assert isinstance(client, Client)
        return client

    def forget(self, client: Client, key: str) -> None:
        del client.sessions[key]
        client.leases = {place: lease for place, lease in client.leases.items() if place[0] != key}


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLedgers = Machine.TestCase
