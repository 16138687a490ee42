"""``tinkex demo``: train, save, resume bit for bit, and fail to resume without a trace."""

import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tinkex.actors import GenRef, ServiceClient, ServiceClientProxy, TrainingClientProxy
from tinkex.cli._base._fail import BAD_INPUT, NO_SERVER, TERMINATED, Failure
from tinkex.cli._base._logs import log_to_stderr
from tinkex.cli._data._text import make_data, read_text, unigram_entropy
from tinkex.cli._demo._census import Census, count, settle
from tinkex.cli._servers._engine_process import engine_process
from tinkex.protocol import AdamParams, Datum, Err, Ok, Result, TinkexError, messages

T = TypeVar("T")
Service = GenRef[ServiceClientProxy]
Training = GenRef[TrainingClientProxy]

PROBE_SECONDS: Final = 5.0
RANK: Final = 32
SEED: Final = 7
ADAM: Final = AdamParams(learning_rate=1e-2, grad_clip_norm=1.0)


class Plan(NamedTuple):
    """What the command was asked for."""

    base_url: str | None
    base_model: str | None
    data: Path | None
    steps: int
    more: int
    plot: Path
    log_level: str


class Losses(NamedTuple):
    """Every step's loss, in nats per byte."""

    before: list[float]
    after: list[float]
    exact: list[float]
    weights_only: list[float]


def run_demo(plan: Plan) -> None:
    """Run the main job and print what came of it; raise ``Failure`` where a line is not as it must be."""
    log_to_stderr(plan.log_level)
    text = read_text(plan.data)
    if not plan.plot.parent.is_dir():
        raise Failure(f"--plot {plan.plot}: there is no folder {plan.plot.parent}", BAD_INPUT)
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(TERMINATED))
    with ExitStack() as stack:
        root: Path | None = None
        base_url = plan.base_url
        if base_url is None:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tinkex-demo-")))
            base_url = stack.enter_context(engine_process(root))
        base_model = _probe(base_url, plan.base_model)
        print(f"server: {base_url}  base model: {base_model}")
        service = stack.enter_context(ServiceClient.open(base_url=base_url))
        _main_job(plan, service, base_url, base_model, root, text)


def _probe(base_url: str, base_model: str | None) -> str:
    try:
        with ServiceClient.open(base_url=base_url, send_timeout=PROBE_SECONDS) as service:
            known = service.ask(messages.GetServerCapabilities())
    except TinkexError as invalid:
        raise Failure(str(invalid), BAD_INPUT) from invalid
    if isinstance(known, Err):
        raise Failure(f"the server at {base_url} cannot be used: {known.error}", NO_SERVER)
    if base_model is not None:
        return base_model
    names = [model.model_name for model in known.value.supported_models]
    if not names:
        raise Failure(f"the server at {base_url} names no base model; pass --base-model", BAD_INPUT)
    return names[0]


def _main_job(plan: Plan, service: Service, base_url: str, base_model: str, root: Path | None, text: bytes) -> None:
    baseline = count(base_url)
    data = make_data(text)
    entropy = unigram_entropy(text)
    print(f"text: {len(text)} bytes in {len(data)} rows, byte-unigram entropy {entropy:.4f} nats per byte")
    create = messages.CreateLoraTrainingClient(base_model, rank=RANK, seed=SEED)
    training = _got(service.ask(create), "creating a client")
    before = _train(training, data, plan.steps, "training")
    saved = _got(training.ask(messages.SaveState("demo")), "saving")
    print(f"saved {saved.path}")
    after = _train(training, data, plan.more, "training on")
    _retire(training)
    print(f"loss: first {before[0]:.4f}, last {after[-1]:.4f}, byte-unigram entropy {entropy:.4f} (nats per byte)")
    exact = _resume(service, saved.path, data, plan.more, optimizer=True)
    weights_only = _resume(service, saved.path, data, plan.more, optimizer=False)
    losses = Losses(before, after, exact, weights_only)
    from tinkex.cli._shown._plot import draw_losses  # noqa: PLC0415 - matplotlib is slow to load: not before it is needed

    draw_losses(plan.plot, *losses, entropy)
    print(f"loss plot: {plan.plot}")
    difference = _fail_to_resume(service, base_url, base_model, root, saved.path, baseline)
    _verdict(losses, difference, entropy, seen=root is not None)


def _train(training: Training, data: list[Datum], steps: int, label: str) -> list[float]:
    console = Console()
    losses: list[float] = []
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=steps, loss="-")
        for step in range(steps):
            passed = training.ask(messages.ForwardBackward(data), block=False)
            stepped = training.ask(messages.OptimStep(ADAM), block=False)
            losses.append(_got(passed.get(), f"step {step} of {label}").metrics["loss:sum"])
            _got(stepped.get(), f"step {step} of {label}")
            progress.update(task, advance=1, loss=f"{losses[-1]:.4f}")
    if not console.is_terminal:
        shown = range(0, steps, max(1, steps // 5))
        print(f"{label}: " + "  ".join(f"step {step} loss {losses[step]:.4f}" for step in shown))
    return losses


def _resume(service: Service, path: str, data: list[Datum], steps: int, *, optimizer: bool) -> list[float]:
    label = "resumed with optimizer" if optimizer else "resumed, weights only"
    training = _got(service.ask(messages.CreateTrainingClientFromState(path, optimizer=optimizer)), label)
    losses = _train(training, data, steps, label)
    _retire(training)
    return losses


def _retire(training: Training) -> None:
    training.kill()
    training.join(PROBE_SECONDS)


def _fail_to_resume(
    service: Service, base_url: str, base_model: str, root: Path | None, saved: str, baseline: Census
) -> Census:
    if root is not None:
        from tinkex.cli._demo._damage import remove_a_tensor  # noqa: PLC0415 - needs the engine's libraries

        training = _got(service.ask(messages.CreateLoraTrainingClient(base_model, rank=RANK)), "creating a client")
        path = _got(training.ask(messages.SaveState("damaged")), "saving").path
        _retire(training)
        remove_a_tensor(root, path)
    else:
        path = saved + "-missing"
    settle(base_url, baseline)
    before = count(base_url)
    failed = service.ask(messages.CreateTrainingClientFromState(path, optimizer=True))
    if not isinstance(failed, Err):
        raise Failure(f"creating a client from {path} should have failed and did not")
    print(f"create-from-state refused: {failed.error}")
    return settle(base_url, before)


def _verdict(losses: Losses, difference: Census, entropy: float, *, seen: bool) -> None:
    wrong: list[str] = []
    differing = sum(a != b for a, b in zip(losses.after, losses.exact, strict=True))
    total = len(losses.after)
    if differing:
        wrong.append(f"the resume with optimizer is not exact: {differing} of {total} losses differ")
    else:
        print(f"resume with optimizer: exact (0 of {total} losses differ)")
    if losses.weights_only[0] != losses.after[0]:
        wrong.append(
            "the resume with weights only differs before the first optimizer step: the weights are not the same"
        )
    elif losses.weights_only[1:] == losses.after[1:]:
        wrong.append("the resume with weights only does not differ: the optimizer was not dropped")
    else:
        print("resume weights only: differs after the first optimizer step, as it must")
    if not difference.clean:
        wrong.append(f"failed create-from-state left something behind: {_left(difference)}")
    elif seen:
        print(f"failed create-from-state: temporary client killed ({_left(difference)} left)")
    else:
        print(f"failed create-from-state: refused, nothing left that can be seen here ({_left(difference)})")
    if min(losses.after) >= entropy:
        wrong.append(f"the loss did not fall below the byte-unigram entropy {entropy:.4f}")
    if wrong:
        raise Failure("; ".join(wrong))


def _left(difference: Census) -> str:
    named: dict[str, Any] = {
        "actors": difference.actors,
        "threads": difference.threads,
        "polls": difference.polls,
        "models on the server": difference.models,
    }
    return ", ".join(f"{name} {'unknown' if number is None else number}" for name, number in named.items())


def _got(result: Result[T], doing: str) -> T:
    match result:
        case Ok(value):
            return value
        case Err(error):
            raise Failure(f"{doing}: {error}", NO_SERVER if error.kind == "api_connection" else 1)
