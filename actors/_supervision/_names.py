"""Which actor bears which name, and what waits for a name whose actor is being restarted."""

import threading
from collections import OrderedDict
from functools import partial
from typing import Any, Final

from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._runtime._clock import Clock
from tinkex.actors._runtime._fork import watch_forks
from tinkex.actors._runtime._runtime import Runtime
from tinkex.actors._supervision._parcel import Parcel, nobody


class _Entry:
    """A name that is taken."""

    __slots__ = ("borne", "delivering", "holder", "parcels", "ref")

    def __init__(self, holder: object) -> None:
        self.holder: Final = holder
        self.ref: GenRef[Any] | None = None
        self.borne = False
        """Whether an actor ever did."""
        self.delivering = False
        """Whether what waited is being delivered; what comes now goes behind it."""
        self.parcels: OrderedDict[Parcel, None] = OrderedDict()
        """What waits, in the order of its arrival."""


class Names:
    """The names of one runtime. All methods may be called by any thread; the lock is never held while one calls out.

    A name belongs to a holder, a supervised child say, from ``claim`` to ``release``. In between an actor may bear it,
    end, and be followed by another one: what waits meanwhile is delivered to that, in order.
    """

    def __init__(self, runtime: Runtime) -> None:
        """Start without names."""
        self._clock: Final = runtime.clock
        self._lock = threading.RLock()
        self._entries: dict[str, _Entry] = {}
        watch_forks(self)

    @property
    def clock(self) -> Clock:
        """See ``Carrier``."""
        return self._clock

    # The holder's side

    def claim(self, name: str, holder: object) -> bool:
        """Take ``name``, or keep it; False if another holder has it."""
        with self._lock:
            return self._entries.setdefault(name, _Entry(holder)).holder is holder

    def register(self, name: str, holder: object, ref: GenRef[Any]) -> bool:
        """Have ``ref`` bear the name, and give it what waits; False if ``holder`` does not have the name any more."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.holder is not holder:
                return False
            entry.ref, entry.borne, entry.delivering = ref, True, True
        self._deliver(name, entry, ref)
        return True

    def lose(self, name: str, holder: object) -> bool:
        """Note that the bearer has ended and another one may follow: what is sent now waits."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.holder is not holder or entry.ref is None:
                return False
            entry.ref = None
            return True

    def release(self, name: str, holder: object) -> bool:
        """Free the name and answer what waits with ``Err(actor_dead)``; False if nobody ever bore it for ``holder``."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.holder is not holder:
                return False
            del self._entries[name]
            entry.ref = None
            parcels, entry.parcels = entry.parcels, OrderedDict()
        for parcel in parcels:
            parcel.give_up(partial(nobody, name))
        return entry.borne

    # The senders' side

    def find(self, name: str) -> GenRef[Any] | None:
        """Return the living bearer of a name, or None."""
        with self._lock:
            entry = self._entries.get(name)
            ref = None if entry is None else entry.ref
        return ref if ref is not None and ref.is_alive() else None

    def send(self, parcel: Parcel) -> bool:
        """Deliver a parcel, or hold it if it waits; False if it is neither."""
        refused: GenRef[Any] | None = None
        while True:
            with self._lock:
                entry = self._entries.get(parcel.name)
                if entry is None:
                    return False
                ref = entry.ref
                crowded = parcel.waits and (entry.delivering or bool(entry.parcels))
                down = ref is None or ref is refused or crowded
                if down and parcel.waits:
                    entry.parcels[parcel] = None
            if ref is None or down:
                if parcel.waits:
                    parcel.arm()
                return parcel.waits
            if parcel.deliver(ref.actor_inbox):
                return True
            refused = ref

    def forget(self, parcel: Parcel) -> None:
        """Hold a parcel no longer."""
        with self._lock:
            entry = self._entries.get(parcel.name)
            if entry is not None:
                entry.parcels.pop(parcel, None)

    def waiting(self, name: str) -> int:
        """How many messages wait for a name."""
        with self._lock:
            entry = self._entries.get(name)
            return 0 if entry is None else len(entry.parcels)

    def _deliver(self, name: str, entry: _Entry, ref: GenRef[Any]) -> None:
        while True:
            with self._lock:
                if entry.ref is not ref or not entry.parcels:
                    entry.delivering = False
                    return
                parcel, _ = entry.parcels.popitem(last=False)
            if not parcel.deliver(ref.actor_inbox, late=True):
                break
        with self._lock:
            entry.delivering = False
            freed = self._entries.get(name) is not entry
            if not freed:
                entry.parcels[parcel] = None
                entry.parcels.move_to_end(parcel, last=False)
        if freed:
            parcel.give_up(partial(nobody, name))

    def reset_after_fork(self) -> None:
        """Know no names, whose actors live in the parent process; answer what waits. The child process only."""
        self._lock = threading.RLock()
        entries, self._entries = self._entries, {}
        for entry in entries.values():
            for parcel in tuple(entry.parcels):
                parcel.abandon_after_fork()


def names(runtime: Runtime) -> Names:
    """Return the names of a runtime."""
    return runtime.part(Names)
