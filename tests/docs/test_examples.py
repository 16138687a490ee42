"""Every Python example of the documents runs, in order, against a real engine."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support_engine_url import engine_url

ROOT = Path(__file__).parents[2]
GUIDES = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "docs" / "guides").glob("*.md"))
DOCUMENTS = ["README.md", *GUIDES, "docs/architecture.md"]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine_url(tmp_path_factory.mktemp("engine")) as address:
        yield address


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_examples_of_a_document_run_as_they_stand(name: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / name).read_text()
    blocks = BLOCK.findall(text)
    without = ("docs/architecture.md", "docs/guides/long_runs.md", "docs/guides/many_runs.md")
    assert blocks or name in without
    names: dict[str, object] = {"__name__": "example"}
    for block in blocks:
        exec(compile(block.replace("http://127.0.0.1:8080", url), name, "exec"), names)
    capsys.readouterr()


def test_links_between_the_documents_lead_somewhere() -> None:
    for name in [*DOCUMENTS, "CONTRIBUTING.md"]:
        path = ROOT / name
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{name}: {target}"
