"""Everything that is served over HTTP."""

from functools import cache
from importlib.metadata import version
from typing import Any, Final

from litestar import get
from litestar.handlers import HTTPRouteHandler

from tinkex.engine._http._http import Http, Reply, reply, wire_types
from tinkex.engine._http._openapi import DOCUMENT, describe
from tinkex.engine._http._routes_downloads import DOWNLOAD_ROUTES
from tinkex.engine._http._routes_sampling import SAMPLING_ROUTES
from tinkex.engine._http._routes_sessions import SESSION_ROUTES
from tinkex.engine._http._routes_training import TRAINING_ROUTES
from tinkex.engine._http._routes_weights import WEIGHTS_ROUTES


@get(DOCUMENT, opt=wire_types(dict))
async def openapi(request: Http) -> Reply:  # noqa: ARG001 - the framework passes it by this name
    """Describe this interface."""
    return reply(_description())


ROUTES: Final[list[HTTPRouteHandler]] = [
    *SESSION_ROUTES,
    *TRAINING_ROUTES,
    *SAMPLING_ROUTES,
    *WEIGHTS_ROUTES,
    *DOWNLOAD_ROUTES,
    openapi,
]


@cache
def _description() -> dict[str, Any]:
    return describe(ROUTES, version("tinkex"))
