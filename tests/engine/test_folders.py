"""What a folder says of its model, without loading it."""

from pathlib import Path

import pytest

from support_engine import logged
from support_folders import write_config
from tinkex.engine._base import _folders
from tinkex.engine._base._errors import EngineError
from tinkex.engine._base._folders import read_folder, scan


def test_a_folder_says_what_the_engine_needs_to_know(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "my-model.v1", max_position_embeddings=77, eos_token_id=[2, 3], rope_theta=1.0)
    base = read_folder(folder)
    assert (base.name, base.arch, base.vocab_size) == ("my-model.v1", "llama", 9)
    assert (base.max_context_length, base.eos_tokens, base.folder) == (77, frozenset({2, 3}), folder)
    plain = read_folder(write_config(tmp_path / "plain", eos_token_id=4))
    assert (plain.eos_tokens, plain.max_context_length) == (frozenset({4}), 2048)
    nested = write_config(tmp_path / "nested", vocab_size=None, text_config={"vocab_size": 8, "eos_token_id": 1})
    with pytest.raises(EngineError, match="vocab_size"):
        read_folder(nested)
    inner = tmp_path / "inner"
    write_config(inner)
    (inner / "config.json").write_text('{"model_type": "gemma3", "text_config": {"vocab_size": 8}}')
    assert (read_folder(inner).vocab_size, read_folder(inner).eos_tokens) == (8, frozenset())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"auto_map": {"AutoModelForCausalLM": "evil.Model"}}, "code of its own"),
        ({"architectures": ["BertForMaskedLM"]}, "no causal language model but BertForMaskedLM"),
        ({"vocab_size": "many"}, "cannot be read"),
    ],
)
def test_what_is_no_base_model_is_said(tmp_path: Path, fields: dict[str, object], says: str) -> None:
    with pytest.raises(EngineError, match=says):
        read_folder(write_config(tmp_path / "x", **fields))


def test_folders_that_are_no_models_are_passed_over_with_a_warning(tmp_path: Path) -> None:
    """The others are found, by name; links and files beside them do not matter."""
    write_config(tmp_path / "b")
    write_config(tmp_path / "a")
    write_config(tmp_path / "with space")
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    no_config = write_config(tmp_path / "no-config")
    (no_config / "config.json").unlink()
    with logged() as log:
        assert [base.name for base in scan(tmp_path)] == ["a", "b"]
    assert {line["folder"] for line in log} == {"empty", "no-config", "with space"}


def test_a_folder_of_models_that_is_none_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be read: No such file"):
        scan(tmp_path / "nowhere")


def test_without_transformers_the_start_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_name: str) -> None:
        return None

    monkeypatch.setattr(_folders, "find_spec", nothing)
    assert scan(tmp_path) == []
    write_config(tmp_path / "a")
    with pytest.raises(EngineError, match=r"tinkex\[models\]"):
        scan(tmp_path)
