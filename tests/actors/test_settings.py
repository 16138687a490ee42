"""Where a service client connects to: checked before anything is sent."""

from pathlib import Path
from typing import Any

import pytest

from tinkex.actors._service._settings import HOSTED_BASE_URL, Settings, resolve
from tinkex.protocol import ApiKey, TinkexError


def settle(
    base_url: Any = None, api_key: Any = None, environ: dict[str, str] | None = None, **options: Any
) -> Settings:
    return resolve({"base_url": base_url, "api_key": api_key, **options}, environ or {})  # type: ignore[typeddict-item]


def test_arguments_come_before_variables_and_those_before_the_hosted_service() -> None:
    variables = {"TINKER_BASE_URL": "https://v.example", "TINKER_API_KEY": "tml-variable"}
    assert settle("https://a.example/svc/", "tml-argument", variables).base_url == "https://a.example/svc"
    assert settle(environ=variables).base_url == "https://v.example"
    assert settle(environ=variables).api_key == ApiKey("tml-variable")
    assert settle(api_key="tml-x").base_url == HOSTED_BASE_URL
    assert settle(api_key=ApiKey("tml-x"), environ={"TINKER_BASE_URL": ""}).base_url == HOSTED_BASE_URL


def test_a_server_on_this_machine_needs_no_key_and_any_other_one_does() -> None:
    assert settle("http://127.0.0.1:8080").api_key == ApiKey("tml-local")
    with pytest.raises(TinkexError, match="TINKER_API_KEY") as caught:
        settle("https://far.example")
    assert (caught.value.kind, caught.value.category) == ("validation", "user")


@pytest.mark.parametrize(
    "base_url",
    [
        "ftp://x.example",
        "https://",
        "no url",
        "https://u:p@x.example",
        "https://x.example?a=1",
        "https://x.example:port",
        "https://ex ample.com",
        "https://x.example:0",
        7,
    ],
)
def test_what_is_no_address_is_refused(base_url: Any) -> None:
    with pytest.raises(TinkexError, match="base_url"):
        settle(base_url, "tml-x")


def test_the_key_does_not_travel_unencrypted_beyond_this_machine_unless_told_to() -> None:
    with pytest.raises(TinkexError, match="allow_insecure"):
        settle("http://10.0.0.1:8000", "tml-x")
    assert settle("http://10.0.0.1:8000", "tml-x", allow_insecure=True).base_url == "http://10.0.0.1:8000"


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True, "10"])
def test_seconds_are_finite_and_above_zero(seconds: Any) -> None:
    with pytest.raises(TinkexError, match="send_timeout"):
        settle("http://127.0.0.1:1", send_timeout=seconds)
    with pytest.raises(TinkexError, match="heartbeat_seconds"):
        settle("http://127.0.0.1:1", heartbeat_seconds=seconds)


@pytest.mark.parametrize("count", [0, -1, 1.5, True, None, "10", float("inf")])
def test_limits_are_whole_numbers_above_zero(count: Any) -> None:
    for name in ("max_in_flight", "max_bytes_in_flight"):
        with pytest.raises(TinkexError, match=name):
            settle("http://127.0.0.1:1", **{name: count})
    given = settle("http://127.0.0.1:1", max_in_flight=1, max_bytes_in_flight=2)
    assert (given.max_in_flight, given.max_bytes_in_flight) == (1, 2)


@pytest.mark.parametrize(
    "options",
    [
        {"send_timout": 1.0},
        {"supervisor": "x"},
        {"tags": "text"},
        {"tags": [1]},
        {"user_metadata": 5},
        {"user_metadata": {"a": 1}},
        {"allow_insecure": "no"},
    ],
)
def test_an_option_that_is_unknown_or_of_another_type_is_refused(options: Any) -> None:
    with pytest.raises(TinkexError) as caught:
        settle("http://127.0.0.1:1", **options)
    assert (caught.value.kind, caught.value.category) == ("validation", "user")
    assert next(iter(options)) in caught.value.message


def test_the_scheme_is_read_in_any_case() -> None:
    assert settle("HTTPS://Far.example/Path", "tml-x").base_url == "https://far.example/Path"


def test_no_send_timeout_is_no_limit() -> None:
    assert settle("http://127.0.0.1:1", send_timeout=None).send_timeout is None


def test_the_key_does_not_show() -> None:
    assert "tml-secret-value" not in repr(settle("https://x.example", "tml-secret-value"))


def test_the_state_folder_is_an_argument_a_variable_or_none() -> None:
    variables = {"TINKEX_STATE_DIR": "/from/variable"}
    local = "http://127.0.0.1:1"
    assert settle(local).state_dir is None
    assert settle(local, environ=variables).state_dir == "/from/variable"
    assert settle(local, environ=variables, state_dir=Path("/from/argument")).state_dir == "/from/argument"
    assert settle(local, environ=variables, state_dir="").state_dir is None
    assert settle(local, environ={"TINKEX_STATE_DIR": ""}).state_dir is None
    assert settle(local, state_dir="here").state_dir == str(Path("here").absolute())
    assert settle(local, state_dir="~/here").state_dir == str(Path.home() / "here")


@pytest.mark.parametrize("path", [7, b"/bytes", "a\0b", "~nobody-of-this-name/x"])
def test_what_is_no_path_is_no_state_folder(path: Any) -> None:
    with pytest.raises(TinkexError, match="state_dir") as caught:
        settle("http://127.0.0.1:1", state_dir=path)
    assert caught.value.kind == "validation"
