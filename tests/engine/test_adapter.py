"""Gradients, accumulation and their bits."""

import hashlib
import itertools
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from tinkex.engine._base._catalogue import DecoderConfig
from tinkex.engine._base._errors import OperationFailed
from tinkex.engine._base._layout import Layout, LoraSpec
from tinkex.engine._compute._adapter import Adapter, Example
from tinkex.engine._compute._causal_lm import Lora
from tinkex.engine._compute._model import Decoder
from tinkex.protocol import AdamParams

torch.set_num_threads(1)  # two threads stall each other on a busy machine

CONFIG = DecoderConfig()
SPEC = LoraSpec(4, 11, True, True, True)
LAYOUT = Layout.of(CONFIG.projections(), SPEC)
DECODER = Decoder(CONFIG)


def example(length: int, seed: int, **inputs: Tensor) -> Example:
    tokens = torch.randint(0, 512, (length + 1,), generator=torch.Generator().manual_seed(seed))
    return Example(tokens[:-1], tokens[1:], inputs or {"weights": torch.linspace(0.1, 1.0, length)})


BATCH = [example(length, length) for length in (5, 1, 17, 33, 2, 8)]


def trained(steps: int = 2) -> Adapter:
    adapter = Adapter(LAYOUT, 11)
    for _ in range(steps):
        adapter.run(DECODER, BATCH, "cross_entropy", {}, backward=True)
        adapter.step(AdamParams(learning_rate=1e-2))
    return adapter


def merged_loss(adapter: Adapter, a: dict[str, Tensor], b: dict[str, Tensor], item: Example) -> Tensor:
    """The loss of a decoder into whose weights the adapter is merged, by torch's functional call."""
    scale = adapter.layout.scale
    weights = {
        f"{module}.weight": DECODER.get_parameter(f"{module}.weight") + scale * b[module] @ a[module] for module in a
    }
    logits = torch.func.functional_call(DECODER, weights, (item.tokens, Lora()))  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType, reportPrivateImportUsage]
    logprobs = torch.log_softmax(logits, -1)[torch.arange(len(item.targets)), item.targets]  # pyright: ignore[reportUnknownArgumentType]
    return -(item.inputs["weights"] * logprobs).sum()


def test_gradients_are_those_of_autograd_through_merged_weights() -> None:
    """Summed over the batch, for every A and B."""
    adapter = trained()
    flat = {
        (slot.module, slot.part): adapter.weights[slot.offset : slot.offset + slot.size].view(slot.shape)
        for slot in LAYOUT.slots
    }
    leaves = {key: view.detach().clone().requires_grad_() for key, view in flat.items()}
    a = {module: leaf for (module, part), leaf in leaves.items() if part == "lora_A"}
    b = {module: leaf for (module, part), leaf in leaves.items() if part == "lora_B"}
    expected = torch.stack([merged_loss(adapter, a, b, item) for item in BATCH]).sum()
    grads = torch.autograd.grad(expected, list(leaves.values()))
    _, total = adapter.run(DECODER, BATCH, "cross_entropy", {}, backward=True)
    assert total == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(adapter.grad, torch.cat([grad.reshape(-1) for grad in grads]), rtol=1e-3, atol=1e-4)
    assert adapter.grad.abs().max() > 0.1


def test_a_fresh_adapter_changes_nothing_and_learns_from_b() -> None:
    """B is zero and A is not: the logprobs are the base's, and the first gradients are B's alone."""
    adapter = Adapter(LAYOUT, 11)
    (logprobs,), _ = adapter.run(DECODER, BATCH[:1], "cross_entropy", {}, backward=True)
    base = torch.log_softmax(DECODER.forward(BATCH[0].tokens, Lora()), -1)
    assert torch.equal(logprobs, base.gather(-1, BATCH[0].targets.unsqueeze(-1)).squeeze(-1))
    for slot in LAYOUT.slots:
        span = slice(slot.offset, slot.offset + slot.size)
        assert bool(adapter.weights[span].any()) == (slot.part == "lora_A")
        assert bool(adapter.grad[span].any()) == (slot.part == "lora_B")


def test_the_seed_decides_the_first_weights() -> None:
    """The same seed the same bits, another seed others, within 1/sqrt(in)."""
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType] - torch
    one = Adapter(LAYOUT, 5).weights
    torch.manual_seed(1)  # pyright: ignore[reportUnknownMemberType] - torch
    assert torch.equal(one, Adapter(LAYOUT, 5).weights)
    assert not torch.equal(one, Adapter(LAYOUT, 6).weights)
    assert one.abs().max() <= 1 / 8


@pytest.mark.parametrize("cuts", [(1,), (3,), (1, 2, 3, 4, 5), (2, 4)])
def test_chunking_changes_no_bit(cuts: tuple[int, ...]) -> None:
    """However a batch is cut into requests, logprobs, loss and gradients are the same."""
    whole, cut = trained(), trained()
    logprobs, total = whole.run(DECODER, BATCH, "cross_entropy", {}, backward=True)
    bounds = (0, *cuts, len(BATCH))
    parts = [
        cut.run(DECODER, BATCH[start:end], "cross_entropy", {}, backward=True)
        for start, end in itertools.pairwise(bounds)
    ]
    assert all(torch.equal(x, y) for x, y in zip(logprobs, [t for part, _ in parts for t in part], strict=True))
    assert torch.equal(whole.grad, cut.grad)
    assert total == pytest.approx(sum(value for _, value in parts), rel=1e-12)


def test_forward_leaves_gradients_alone() -> None:
    """The same logprobs, nothing pending."""
    adapter = trained()
    forward, _ = adapter.run(DECODER, BATCH, "cross_entropy", {}, backward=False)
    assert not adapter.pending
    assert not adapter.grad.any()
    backward, _ = adapter.run(DECODER, BATCH, "cross_entropy", {}, backward=True)
    assert adapter.pending
    assert all(torch.equal(x, y) for x, y in zip(forward, backward, strict=True))


def test_a_step_uses_the_gradients_once() -> None:
    """They are cleared, and a step without any lets the moments decay."""
    adapter = trained(1)
    assert not adapter.grad.any()
    assert not adapter.pending
    first = adapter.moments.first.clone()
    assert adapter.step(AdamParams()) == 0.0
    torch.testing.assert_close(adapter.moments.first, 0.9 * first)
    assert adapter.moments.step == 2


def test_a_loss_that_is_no_number_names_its_datum() -> None:
    """Overflowing ratios end the pass."""
    wild = example(2, 1, logprobs=torch.full((2,), -500.0), advantages=torch.ones(2))
    tame = example(2, 2, logprobs=torch.full((2,), -5.0), advantages=torch.ones(2))
    with pytest.raises(OperationFailed, match=r"loss of data\[1\] is -inf"):
        trained().run(DECODER, [tame, wild], "importance_sampling", {}, backward=True)


def test_gradients_that_overflow_end_the_pass() -> None:
    """Even where the loss itself is finite."""
    huge = example(2, 1, weights=torch.full((2,), 1e36))
    adapter = Adapter(LAYOUT, 11)
    adapter.weights.mul_(1000.0)
    with pytest.raises(OperationFailed, match="gradients of the cross_entropy loss"):
        adapter.run(DECODER, [huge], "cross_entropy", {}, backward=True)


def test_weights_that_overflow_end_the_step() -> None:
    """A step that destroys the weights says so."""
    adapter = trained(1)
    adapter.step(AdamParams(learning_rate=1e18, weight_decay=1e18))
    with pytest.raises(OperationFailed, match="step 3 made weights NaN or infinite"):
        adapter.step(AdamParams(learning_rate=1e18, weight_decay=1e18))


SCRIPT = """
import hashlib, sys, torch
torch.set_num_threads(1)
torch.manual_seed(int(sys.argv[1]))
sys.path.insert(0, sys.argv[2])
import test_adapter
adapter = test_adapter.trained(3)
state = adapter.weights, adapter.moments.first, adapter.moments.second
print(hashlib.sha256(b"".join(t.numpy().tobytes() for t in state)).hexdigest())
"""


def test_two_processes_compute_the_same_bits() -> None:
    """Whatever their global random state."""
    runs = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, str(seed), __file__.rpartition("/")[0]], stdout=subprocess.PIPE)
        for seed in (1, 2)
    ]
    digests = [run.communicate(timeout=60)[0].decode().strip() for run in runs]
    adapter = trained(3)
    state = adapter.weights, adapter.moments.first, adapter.moments.second
    own = hashlib.sha256(b"".join(t.numpy().tobytes() for t in state)).hexdigest()
    assert digests == [own, own]
