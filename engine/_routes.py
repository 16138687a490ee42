"""Everything that is served over HTTP."""

from typing import Final

from litestar.handlers import HTTPRouteHandler

from tinkex.engine._routes_downloads import DOWNLOAD_ROUTES
from tinkex.engine._routes_sampling import SAMPLING_ROUTES
from tinkex.engine._routes_sessions import SESSION_ROUTES
from tinkex.engine._routes_training import TRAINING_ROUTES
from tinkex.engine._routes_weights import WEIGHTS_ROUTES

ROUTES: Final[list[HTTPRouteHandler]] = [
    *SESSION_ROUTES,
    *TRAINING_ROUTES,
    *SAMPLING_ROUTES,
    *WEIGHTS_ROUTES,
    *DOWNLOAD_ROUTES,
]
