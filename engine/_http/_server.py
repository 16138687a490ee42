"""The engine as a service: an ASGI app, a blocking server, and a server for tests and demos."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final, cast

import structlog
import uvicorn
from litestar import Litestar
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.types import LifeSpanReceive, LifeSpanScope, LifeSpanSend, Receive, Scope, Send

from tinkex.engine._base._config import EngineConfig
from tinkex.engine._base._errors import EngineError, Refusal
from tinkex.engine._http._fault_app import handle
from tinkex.engine._http._guard import answer, check_head, headers_of
from tinkex.engine._http._http import EXCEPTION_HANDLERS
from tinkex.engine._http._routes import ROUTES
from tinkex.engine._service._engine import Engine
from tinkex.engine._service._upkeep import sweep_for_ever

log = structlog.get_logger("tinkex.engine")

_GRACE: Final = 5
"""Seconds that open requests get at the end."""


def app(config: EngineConfig, engine: Engine | None = None) -> Litestar:
    """Build the ASGI app of an engine; its lifespan opens, starts and closes the engine.

    Raises:
        EngineError: from the lifespan, where the engine cannot be opened.
    """
    served = Engine(config) if engine is None else engine

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncGenerator[None]:
        served.open()
        served.start()
        upkeep = asyncio.create_task(sweep_for_ever(served))
        try:
            yield
        finally:
            upkeep.cancel()
            await asyncio.gather(upkeep, return_exceptions=True)
            await served.close()

    return _App(
        ROUTES,
        lifespan=[lifespan],
        state=State({"engine": served}),
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=config.max_body_bytes,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )


class _App(Litestar):
    """Litestar behind a guard that sees every request first, unknown paths too."""

    async def __call__(
        self, scope: Scope | LifeSpanScope, receive: Receive | LifeSpanReceive, send: Send | LifeSpanSend
    ) -> None:
        """Serve one connection."""
        if scope["type"] == ScopeType.HTTP:
            engine: Engine = self.state.engine
            head: Any = scope
            try:
                check_head(engine.config, head["method"], head["path"], headers_of(head["headers"]))
            except Refusal as refusal:
                await answer(cast("Send", send), refusal)
                return
            if engine.config.faults is not None:
                handling = partial(super().__call__, scope, receive)
                await handle(engine.config.faults, head["path"], cast("Send", send), handling)
                return
        await super().__call__(scope, receive, send)


def serve(config: EngineConfig, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then end cleanly and return. Blocks; call it on the main thread.

    Args:
        config: the settings.
        on_ready: told the base URL once it is bound.

    Raises:
        EngineError: where the root or the port cannot be had.
    """
    server = _open(config, on_ready)
    server.run_to_end()
    log.info("stopped")


@contextmanager
def running_engine(config: EngineConfig) -> Generator[str]:
    """Serve from a daemon thread while the block runs; gives the base URL.

    Raises:
        EngineError: where the root or the port cannot be had.
    """
    with EngineThread(config) as url:
        yield url


class EngineThread:
    """An engine served from a daemon thread of this process: ``start``, ``url``, ``engine``, ``stop``.

    Raises:
        EngineError: where the root or the port cannot be had.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._bound = threading.Event()
        self._server: Final = _open(config, self._bind)
        self._thread: Final = threading.Thread(target=self._serve, name="tinkex-engine", daemon=True)
        self.engine: Final = self._server.engine
        """The engine; its state belongs to the thread."""
        self.url = ""
        """The base URL, once started."""
        self._error: EngineError | None = None

    def start(self) -> str:
        """Serve; return the base URL once it can be reached."""
        self._thread.start()
        self._bound.wait()
        if self._error is not None:
            raise self._error
        return self.url

    def stop(self) -> None:
        """End cleanly and wait for it."""
        self._server.should_exit = True
        self._thread.join()

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _serve(self) -> None:
        try:
            self._server.run_to_end()
        except EngineError as error:
            self._error = error
        finally:
            self._bound.set()

    def _bind(self, url: str) -> None:
        self.url = url
        self._bound.set()


class _Server(uvicorn.Server):
    """Uvicorn that says when it is bound, frees those who wait at the end, and takes signals for a clean end."""

    def __init__(
        self, config: EngineConfig, engine: Engine, listener: socket.socket, on_ready: Callable[[str], None] | None
    ) -> None:
        settings = uvicorn.Config(
            app(config, engine),  # pyright: ignore[reportArgumentType] - Litestar is an ASGI app; its types are stricter
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
        super().__init__(settings)
        self.engine: Final = engine
        self.socket: Final = listener
        self._on_ready: Final = on_ready

    def run_to_end(self) -> None:
        """Serve, and leave nothing open.

        Raises:
            EngineError: where it ends before it has begun.
        """
        try:
            self.run(sockets=[self.socket])
        except SystemExit as ended:
            raise EngineError("the engine ended at its start; its log says why") from ended
        finally:
            self.socket.close()
            asyncio.run(self.engine.close())

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell the URL."""
        await super().startup(sockets)
        host, port = self.socket.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log.info("listening", url=url)
        if self._on_ready is not None:
            self._on_ready(url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer all waits, so that no connection holds up the end."""
        self.engine.drain()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Take SIGINT and SIGTERM for a clean end; unlike the base class, do not raise them again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _open(config: EngineConfig, on_ready: Callable[[str], None] | None) -> _Server:
    """Take the root and the port."""
    engine = Engine(config)
    engine.open()
    try:
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        listener = socket.create_server((config.host, config.port), family=family, backlog=2048)
        # Inherited by every connection: asyncio does it only for sockets that name TCP, which create_server does not.
        # Without it an answer waits 40 ms for the acknowledgement of its own first half.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        asyncio.run(engine.close())
        raise EngineError(
            f"cannot listen on {config.host} port {config.port}: {error.strerror}; choose another --port"
        ) from error
    return _Server(config, engine, listener, on_ready)
