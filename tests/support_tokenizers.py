"""A small tokenizer with a chat template, as a folder; made in a moment, nothing downloaded."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def write_tokenizer(folder: Path, template: str | None = TEMPLATE, **config: Any) -> Path:
    """Write a tokenizer whose tokens are characters, beside <s> and </s>; a text begins with <s>."""
    tokenizers: Any = import_module("tokenizers")
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{chr(code): code for code in (10, *range(32, 127))}}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing("<s> $A", None, [("<s>", 1)])
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.decoder = tokenizers.decoders.Fuse()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    fields = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        **({"chat_template": template} if template is not None else {}),
        **config,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(fields))
    return folder
