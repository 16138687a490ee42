"""What lies in a mailbox: a told message, or an asked one that is also the promise of its reply."""

import sys
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, cast

from tinkex.actors._genserver._deferred import AbandonReason, Deferred
from tinkex.actors._genserver._once import Once
from tinkex.actors._runtime._log import log
from tinkex.protocol import Err, TinkexError

if TYPE_CHECKING:
    from pykka._types import OptExcInfo


class Owner(Protocol):
    """The mailbox that an asked message was put into."""

    def offer(self, envelope: Any, /) -> bool:
        """Queue an ask; False if the mailbox takes nothing more."""
        ...

    def refusal(self) -> TinkexError:
        """Say why."""
        ...

    def hold(self, promise: Any) -> bool:
        """Keep an ask whose handler deferred the reply; False if it was answered instead."""
        ...

    def release(self, promise: Any) -> None:
        """Forget an ask that was held."""
        ...

    def withdraw(self, promise: Any) -> bool:
        """Keep a queued ask from being handled; False if it is too late."""
        ...

    def drop(self, promise: Any) -> None:
        """Have a deferred told that its reply was dropped, in a better place than a finalizer."""
        ...


class Nobody:
    """Where the replies to told messages go."""

    def set(self, response: Any = None) -> None:
        """Tell a deferred that nobody reads it; leave a trace of an ``Err``."""
        if isinstance(response, Deferred):
            response.give_up(None, "dropped")  # pyright: ignore[reportUnknownMemberType]
        elif isinstance(response, Err):
            log().warning("a told message was refused", error=str(response.error))


class Tell:
    """The envelope of a message whose sender expects no reply."""

    __slots__ = ("message", "taken")

    reply_to: ClassVar[Nobody] = Nobody()

    def __init__(self, message: object) -> None:
        self.message = message
        self.taken = False


class Promise(Once[Any]):
    """The envelope of an asked message, and the promise of its reply.

    The asker holds it through a ``Reply`` handle of its own, so that a reply which was dropped unread can be noticed.
    """

    __slots__ = ("abandoned", "deferred", "gave_up", "kept", "mailbox", "message", "taken")

    def __init__(self, message: Any, mailbox: Owner | None) -> None:
        self.message = message
        self.mailbox: Final = mailbox
        self.taken = False
        self.gave_up = False
        self.kept = False
        self.abandoned: AbandonReason | None = None
        self.deferred: Deferred[Any] | None = None
        super().__init__()

    def send(self) -> None:
        """Put the message into its mailbox; what that refuses is answered at once."""
        mailbox = self.mailbox
        if mailbox is not None and not mailbox.offer(self):
            self.settle(Err(mailbox.refusal()))

    @property
    def reply_to(self) -> "Promise":
        """Where the receive loop puts the handler's response: here."""
        return self

    def set(self, response: Any = None) -> None:
        """Take the handler's response; a deferred one is passed on when it is given."""
        self.message = None
        if isinstance(response, Deferred):
            self._await(cast("Deferred[Any]", response))  # type: ignore[redundant-cast]
        else:
            self.settle(response)

    def set_exception(self, exc_info: "OptExcInfo | None" = None) -> None:
        """Settle with the exception of ``exc_info``, by default the one that is being handled."""
        error = (exc_info or sys.exc_info())[1]
        self.fail(error if error is not None else RuntimeError("set_exception() outside of an except block"))

    def _await(self, deferred: Deferred[Any]) -> None:
        mailbox = self.mailbox
        if mailbox is not None and not mailbox.hold(self):
            return
        deferred.asked()
        self.deferred = deferred
        deferred.subscribe_once(self._given)
        if self.abandoned is not None:
            self._give_up(self.abandoned)

    def _given(self) -> None:
        deferred = self.deferred
        if deferred is not None:
            self.settle(deferred.value())
        self._release()

    def _release(self) -> None:
        if self.mailbox is not None:
            self.mailbox.release(self)

    def cancel(self) -> bool:
        """Withdraw the message if nobody took it, else tell the deferred; False if it is too late for either."""
        if self.settled or self.mailbox is None:
            return False
        if self.mailbox.withdraw(self):
            return self.settle(Err(cancelled("not_sent")))
        self.abandon("cancelled")
        return True

    def abandon(self, reason: AbandonReason) -> None:
        """Note that the reply will not be read; a deferred that comes, or came, as the response is told."""
        self.abandoned = reason
        self._give_up(reason)

    def _give_up(self, reason: AbandonReason) -> None:
        deferred = self.deferred
        if deferred is None or deferred.give_up(self, reason):
            return
        if reason == "cancelled":
            self.settle(Err(cancelled("unknown")))
            self._release()

    def read(self) -> Any:
        """Return the settled value, or raise; nobody is told of an abandoned reply from here on."""
        self.deferred = None
        return self.value()


def cancelled(outcome: str) -> TinkexError:
    """Build the error of a cancelled ask."""
    sent = "before the actor took it up" if outcome == "not_sent" else "while it was under way"
    return TinkexError(
        f"the request was cancelled {sent}", kind="cancelled", category="user", data={"outcome": outcome}
    )
