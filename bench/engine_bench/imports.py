"""What a bare script needs to import the engine's libraries and to build the same model.

``python -m engine_bench.imports [FOLDER]``; without a folder it is the built-in model.
"""

import sys
from typing import Any

import litestar
import msgspec
import safetensors.torch
import torch
import uvicorn

MODULES = (litestar, msgspec, safetensors.torch, torch, uvicorn)

if len(sys.argv) > 1:
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    auto.from_pretrained(sys.argv[1], dtype=torch.float32)
else:
    from tinkex.engine._base._catalogue import DecoderConfig
    from tinkex.engine._compute._model import Decoder

    Decoder(DecoderConfig())
