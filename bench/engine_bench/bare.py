"""The rival: peft's documented loop over the same model, driven by lines on standard input.

``python -m engine_bench.bare SHAPE MODEL_FOLDER ADAPTER_FOLDER`` loads the model and the adapter that the engine began
with; then for each line, ``batch`` or ``single``, it takes a step (all rows in one pass, or each row in its own) and
prints one line of JSON: seconds of the passes, seconds of the optimizer's step, and the loss.
"""

import json
import sys
import time
from typing import Any

import peft
import torch
import transformers

from engine_bench.shapes import SHAPES


def main() -> None:
    torch.set_num_threads(1)
    shape = SHAPES[sys.argv[1]]
    auto: Any = transformers.AutoModelForCausalLM
    base = auto.from_pretrained(sys.argv[2])
    loaders: Any = peft.PeftModel
    model = loaders.from_pretrained(base, sys.argv[3], is_trainable=True)
    # The built-in learning rate, betas, eps and decay of the wire, which the engine steps with, too.
    optimizer: Any = torch.optim.AdamW(
        (weight for weight in model.parameters() if weight.requires_grad),
        lr=1e-3,
        betas=(0.9, 0.95),
        eps=1e-12,
        weight_decay=0.0,
    )
    rows = torch.tensor(shape.data())
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        parts = list(torch.split(rows, 1)) if line.strip() == "single" else [rows]
        begin, loss = time.perf_counter(), 0.0
        for part in parts:
            scores = model(part[:, :-1]).logits.log_softmax(-1)
            lost = -scores.gather(-1, part[:, 1:].unsqueeze(-1)).sum()
            lost.backward()
            loss += lost.item()
        passed = time.perf_counter()
        optimizer.step()
        optimizer.zero_grad()
        print(json.dumps({"fb": passed - begin, "optim": time.perf_counter() - passed, "loss": loss}), flush=True)


if __name__ == "__main__":
    main()
