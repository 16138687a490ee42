"""Configuration and sessions."""

from typing import Any, ClassVar, Literal

from msgspec import field

from tinkex.protocol.wire._base import Body


class ClientConfigRequest(Body, frozen=True):
    """``POST /api/v1/client/config``."""

    sdk_version: str = ""


class ClientConfigReply(Body, frozen=True):
    """How the server wants to be used; an empty object is a full answer."""

    pjwt_auth_enabled: bool = False
    parallel_fwdbwd_chunks: bool = True
    proto_compress_fwdbwd: bool = False
    fwdbwd_max_chunk_len: int = 1024
    """Datums."""
    fwdbwd_max_chunk_bytes_count: int = 5_000_000
    billing_exception_max_pause_duration_sec: int = 3600
    create_model_via_load_weights: bool = False
    """Whether a load addressed by session creates the model; read by SDKs up to 0.25."""


class CreateSessionRequest(Body, frozen=True):
    """``POST /api/v1/create_session``."""

    tags: list[str] = field(default_factory=list[str])
    user_metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    sdk_version: str = ""
    project_id: str | None = None
    display_name: str | None = None
    type: str = "create_session"


class CreateSessionReply(Body, frozen=True):
    """A session; the messages are for the log."""

    session_id: str
    info_message: str | None = None
    warning_message: str | None = None
    error_message: str | None = None
    type: str = "create_session"


class SessionHeartbeatRequest(Body, frozen=True):
    """``POST /api/v1/session_heartbeat``."""

    session_id: str
    type: str = "session_heartbeat"


class SessionHeartbeatReply(Body, frozen=True):
    """The session lives."""

    type: str = "session_heartbeat"


class FinishReason(Body, frozen=True):
    """How a session ended."""

    type: Literal["success", "errored", "interrupted"]


class FinishSessionRequest(Body, frozen=True):
    """``POST /api/v1/sessions/{session_id}/finish``."""

    SENDS_NULL: ClassVar[bool] = True

    reason: FinishReason
    detail: str | None = None


class SessionsReply(Body, frozen=True):
    """``GET /api/v1/sessions``: ids."""

    sessions: list[str]


class SessionReply(Body, frozen=True):
    """``GET /api/v1/sessions/{session_id}``."""

    training_run_ids: list[str]
    sampler_ids: list[str] = field(default_factory=list[str])
    user_metadata: dict[str, Any] | None = None
    display_name: str | None = None


class DynamicConfigReply(Body, frozen=True):
    """``POST /api/v1/client/dynamic_config``: what clients may change while they run."""

    refresh_interval_sec: int = 300
    sample_cancel_enabled: bool = False


class ProjectRequest(Body, frozen=True):
    """``PUT /api/v1/sessions/{session_id}/project``."""

    project_id: str


class TraceExportReply(Body, frozen=True):
    """``GET /api/v1/sessions/{session_id}/trace_export``."""

    status: Literal["pending", "ready", "failed"]
    url: str | None = None
    error: str | None = None


class SessionOwner(Body, frozen=True):
    """Whose sessions are searched."""

    type: Literal["own", "accessible", "user"] = "own"
    owner_urns: list[str] = field(default_factory=list[str])


class SessionStatus(Body, frozen=True):
    """Where a session stands, or which of those are searched."""

    type: Literal["active", "cancelled", "failed", "client_finished"]
    reason: FinishReason | None = None
    detail: str | None = None
    reasons: list[str] | None = None
    """In a search: the types of reasons, None for any."""


class SessionCursor(Body, frozen=True):
    """Behind which session a page begins."""

    last_created_at: str
    """RFC 3339."""
    last_session_id: str


class SearchSessionsRequest(Body, frozen=True):
    """``POST /api/v1/sessions/search``; what is None or empty is not looked at."""

    session_id: str | None = None
    project_ids: list[str] | None = None
    user_metadata: dict[str, str] = field(default_factory=dict[str, str])
    display_name: str | None = None
    owner: SessionOwner = field(default_factory=SessionOwner)
    statuses: list[SessionStatus] | None = None
    limit: int = 50
    cursor: SessionCursor | None = None


class FoundSession(Body, frozen=True):
    """A session that a search found."""

    SENDS_NULL: ClassVar[bool] = True

    session_id: str
    created_at: str
    """RFC 3339."""
    owner: str
    checkpoints_count: int
    project_id: str | None = None
    status: SessionStatus | None = None
    checkpoint_storage_bytes: int = 0
    display_name: str | None = None
    user_metadata: dict[str, Any] | None = None


class SearchSessionsReply(Body, frozen=True):
    """One page, newest first."""

    sessions: list[FoundSession]
    next_cursor: SessionCursor | None = None
