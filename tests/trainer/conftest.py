"""The engine that a file's runs train on."""

from collections.abc import Generator

import pytest

from support_engine_url import engine_url


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with engine_url(tmp_path_factory.mktemp("engine")) as address:
        yield address
