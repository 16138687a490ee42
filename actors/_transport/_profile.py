"""What a server was found to do: nothing of it is configured, all of it is remembered for the next request.

Servers of the Tinker API differ in the forms that they take and in the routes that they have. The first request of a
kind finds out which; the finding is kept for each ``base_url`` of a runtime and shared by all clients of it.
"""

import re
import weakref
from typing import Final, Literal

import msgspec

from tinkex.actors._runtime._runtime import Runtime
from tinkex.protocol import TinkexError

PassForm = Literal["json", "protobuf"]
"""How the body of a forward or forward_backward is written."""

LoadForm = Literal["three_step", "one_request"]
"""How a model is made from a checkpoint: create it and load into it, or ask for both at once."""

Route = Literal["unload_model", "finish_session"]
"""A route that not every server has."""

_NO_ROUTE: Final = frozenset({405, 501})
_WRONG_FORM: Final = frozenset({405, 422, 501})
_NO_SUCH_ROUTE: Final = (
    r"(?is)\W*(?:404\W*)?(?:(?:page|route|path|url|endpoint)\W+)?not found\W*"
    r"|\W*(?:no such|unknown|no) (?:page|route|path|url|endpoint)\b.*"
)
_ABOUT_FORMAT: Final = r"(?i)protobuf|\bproto\b|content.?type|media.?type|\bpars(?:e|ing)\b|decod|deseriali[sz]"
_ABOUT_FORM: Final = (
    r"(?i)model_id|seq_id|session_id|\bfields?\b|\bform\b|permitted|required|unexpected|unsupported|not supported"
)
_READ_AS_JSON: Final = '"loc":["body","'
"""A validator that names a field inside the body has read the body."""


class ServerProfile(msgspec.Struct):
    """What is known of one server. Written on the io loop only, read in any thread; a finding is never taken back."""

    takes_json: bool | None = None
    """Whether a pass in JSON was accepted; False where it was refused and protobuf was not."""

    takes_protobuf: bool | None = None
    """The same for protobuf."""

    results_in_protobuf: bool = False
    """Whether a result came in protobuf where JSON would have done: then a pass is worth a try in it, too."""

    takes_zstd: bool | None = None
    """Whether passes in protobuf may come packed; None before it was asked."""

    load: LoadForm | None = None
    unload_model: bool | None = None
    finish_session: bool | None = None

    def form_of_pass(self, *, pays: bool) -> PassForm:
        """Return the form for the next pass: JSON, until the server was found to speak protobuf.

        Args:
            pays: whether the pass is so large that protobuf is worth it where both are taken.
        """
        if self.takes_json is False:
            return "protobuf"
        found = self.takes_protobuf if self.takes_protobuf is not None else self.results_in_protobuf
        return "protobuf" if pays and found else "json"

    def note_pass(self, form: PassForm, *, in_place_of: PassForm | None = None) -> None:
        """Note that the server took a pass in ``form``, where it had refused it ``in_place_of`` another.

        What it took before is not unlearnt.
        """
        for name, takes in ((form, True), (in_place_of, False)):
            if name == "json" and self.takes_json is None:
                self.takes_json = takes
            elif name == "protobuf" and self.takes_protobuf is None:
                self.takes_protobuf = takes

    def note_result_in_protobuf(self) -> None:
        """Note that the server writes results in protobuf when it may."""
        self.results_in_protobuf = True

    def other_form(self, form: PassForm, error: TinkexError, *, own_route: bool) -> bool:
        """Whether a pass in ``form`` that was refused with ``error`` is worth a second attempt in the other.

        A form that was accepted before is not doubted.

        Args:
            form: of the first attempt.
            error: of a refusal: no attempt ran.
            own_route: whether the JSON form has a route of its own, which newer servers lack.
        """
        if self.takes_json if form == "json" else self.takes_protobuf:
            return False
        return is_wrong_format(error) or (own_route and is_missing_route(error))

    def note_load(self, form: LoadForm) -> None:
        """Note that the server took a load in ``form``; the first finding stands."""
        self.load = self.load or form

    def one_request(self, error: TinkexError) -> bool:
        """Whether a restore in three steps that ended in ``error`` is worth an attempt in one request.

        ``error.data`` names the step, and by the outcome whether the load was certainly refused.
        """
        if self.load == "three_step":
            return False
        if error.data.get("step") == "create_model":
            return is_missing_route(error)
        said = error.data.get("said")
        if error.data.get("outcome") != "not_sent" or said is None:
            return False
        return error.status in _WRONG_FORM or (error.status == 400 and re.search(_ABOUT_FORM, said) is not None)

    def lacks(self, route: Route) -> bool:
        """Whether the server was found not to have ``route``: it is not asked again."""
        return (self.unload_model if route == "unload_model" else self.finish_session) is False

    def note_route(self, route: Route, error: TinkexError | None = None) -> None:
        """Note what an answer of ``route`` shows: that it exists, or, by ``error``, that it does not."""
        known = self.unload_model if route == "unload_model" else self.finish_session
        found = None if error is not None and not is_missing_route(error) else error is None
        if known or found is None:
            return
        if route == "unload_model":
            self.unload_model = found
        else:
            self.finish_session = found


def is_missing_route(error: TinkexError) -> bool:
    """Whether ``error`` says that the server has no such route, as against no such thing behind it."""
    if error.status in _NO_ROUTE:
        return True
    said = error.data.get("said")
    return error.status == 404 and (said is None or re.fullmatch(_NO_SUCH_ROUTE, said) is not None)


def is_wrong_format(error: TinkexError) -> bool:
    """Whether ``error`` says that the server could not read a JSON body, rather than that it disliked its content."""
    said = str(error.data.get("said", ""))
    if error.status == 422:
        return _READ_AS_JSON not in said
    return error.status == 415 or (error.status == 400 and re.search(_ABOUT_FORMAT, said) is not None)


_profiles: "weakref.WeakKeyDictionary[Runtime, dict[str, ServerProfile]]" = weakref.WeakKeyDictionary()


def profile_of(runtime: Runtime, base_url: str) -> ServerProfile:
    """Return what ``runtime`` knows of the server at ``base_url``; any thread."""
    known = _profiles.setdefault(runtime, {})
    return known.setdefault(base_url, ServerProfile())
