"""The three-way check: does a resume on this server go on as if nothing had happened?"""

import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

from tinkex.actors._programs._program import TrainingProgram
from tinkex.actors._runtime._log import log
from tinkex.actors._service._service_ref import ServiceClientRef
from tinkex.actors._training._training_proxy import TrainingClientRef
from tinkex.protocol import AdamParams, Datum, Err, Ok, Request, Result, TinkexError, messages, validation
from tinkex.protocol._checks import check_number, check_whole
from tinkex.protocol._resume_verdict import Measured, judge_resume
from tinkex.protocol.replies import ForwardBackwardOutput, ResumeVerdict

TTL_SECONDS: Final = 3600
"""Of the checkpoint: it is deleted in the end, and by the server where that fails."""


class _Lesson(NamedTuple):
    micro_batches: Sequence[Sequence[Datum]]
    adam: AdamParams


def verify_resume(
    service: ServiceClientRef,
    program: TrainingProgram,
    *,
    base_model: str,
    rank: int = 8,
    seed: int = 0,
    before: int = 3,
    after: int = 3,
    tolerance: float | None = None,
    await_timeout: float | None = None,
) -> Result[ResumeVerdict]:
    """Train, save, train on; then train the same on from the checkpoint, with its optimizer and without; compare.

    Against any server. Blocks the calling thread, on which the program's methods run; never call it on an actor's
    thread. It leaves nothing behind: its clients are stopped, and its checkpoint is deleted, or expires in an hour
    where it cannot be.

    Args:
        service: of the server.
        program: its first ``before + after`` updates are trained on.
        base_model: to train an adapter of.
        rank: of the adapter.
        seed: of the adapter.
        before: updates before the save, at least 1, for an optimizer that took none has nothing to restore.
        after: updates after it, at least 2, for the first one shows only the weights.
        tolerance: the largest difference of a loss or log-probability that is as good as none; None asks for the same
            bits. Servers whose sums change their order need one.
        await_timeout: seconds that each request may take; None waits.

    Returns:
        The verdict, also where it has not passed; ``Err`` where the check could not be done: ``validation`` for wrong
        arguments and a program that is too short, ``program_failed`` for one that raised, and what the server refused.
    """
    wrong = (
        check_whole("before", before, 1)
        or check_whole("after", after, 2)
        or (None if tolerance is None else check_number("tolerance", tolerance, 0.0))
    )
    if wrong is not None:
        return Err(wrong)
    try:
        lessons = _lessons(program, before + after)
    except TinkexError as error:
        return Err(error)
    create = messages.CreateLoraTrainingClient(base_model, rank, seed, await_timeout=await_timeout)
    check = _Check(service, program, lessons[:before], lessons[before:], await_timeout)
    try:
        uninterrupted, resumed, cold = check.run(create)
    except TinkexError as error:
        return Err(error)
    return Ok(judge_resume(uninterrupted, resumed, cold, tolerance or 0.0))


class _Check:
    """One check on its way; what fails is raised."""

    def __init__(
        self,
        service: ServiceClientRef,
        program: TrainingProgram,
        before: list[_Lesson],
        after: list[_Lesson],
        await_timeout: float | None,
    ) -> None:
        self._service: Final = service
        self._loss_fn: Final = program.loss_fn
        self._loss_fn_config: Final = program.loss_fn_config
        self._before: Final = before
        self._after: Final = after
        self._await_timeout: Final = await_timeout

    def run(self, create: messages.CreateLoraTrainingClient) -> list[list[Measured]]:
        """Return what the updates after the save showed: uninterrupted, resumed, cold."""
        name = f"verify-resume-{uuid.uuid4().hex[:12]}"
        save = messages.SaveState(name, TTL_SECONDS, await_timeout=self._await_timeout)
        with ExitStack() as leaves:
            with ExitStack() as clients:
                first = self._client(create, clients)
                self._train(first, self._before)
                path = first.ask(save).unwrap().path
                leaves.callback(self._delete, path)
                ways = [self._train(first, self._after)]
            for optimizer in (True, False):
                with ExitStack() as clients:
                    resume = messages.CreateTrainingClientFromState(
                        path, optimizer=optimizer, await_timeout=self._await_timeout
                    )
                    ways.append(self._train(self._client(resume, clients), self._after))
            return ways

    def _client(self, create: Request[Any], clients: ExitStack) -> TrainingClientRef:
        made: TrainingClientRef = self._service.ask(create).unwrap()
        clients.callback(made.stop)
        return made

    def _train(self, client: TrainingClientRef, lessons: list[_Lesson]) -> list[Measured]:
        return [self._update(client, lesson) for lesson in lessons]

    def _update(self, client: TrainingClientRef, lesson: _Lesson) -> Measured:
        passed = [
            client.ask(
                messages.ForwardBackward(data, self._loss_fn, self._loss_fn_config, await_timeout=self._await_timeout),
                block=False,
            )
            for data in lesson.micro_batches
        ]
        stepped = client.ask(messages.OptimStep(lesson.adam, await_timeout=self._await_timeout), block=False)
        outputs = [reply.get().unwrap() for reply in passed]
        stepped.get().unwrap()
        return _measured(outputs)

    def _delete(self, path: str) -> None:
        deleted = self._service.ask(messages.DeleteCheckpoint(path))
        if isinstance(deleted, Err):
            log(path=path).warning("the checkpoint of a check is left to expire", error=deleted.error.message)


def _measured(outputs: list[ForwardBackwardOutput]) -> Measured:
    values = tuple(
        float(value)
        for output in outputs
        for datum in output.loss_fn_outputs
        for value in (datum["logprobs"].tolist() if "logprobs" in datum else ())
    )
    sums = [output.metrics.get("loss:sum") for output in outputs]
    told = [value for value in sums if value is not None]
    return Measured(sum(told) if len(told) == len(sums) else -sum(values), values)


def _lessons(program: TrainingProgram, count: int) -> list[_Lesson]:
    """Return the program's first updates.

    Raises:
        TinkexError: ``program_failed`` for what a method raised, ``validation`` where it has fewer.
    """
    found: list[_Lesson] = []
    try:
        cursor = program.first_cursor()
        while len(found) < count:
            batch = program.batch(cursor)
            if batch is None:
                break
            found.append(_Lesson(batch.micro_batches, program.adam_params(len(found))))
            cursor = batch.cursor
    except TinkexError:
        raise
    except Exception as error:
        raise TinkexError(
            f"the training program failed: {type(error).__name__}: {error}", kind="program_failed", category="user"
        ) from error
    if len(found) < count:
        raise validation(
            f"the program ends after {len(found)} updates, and before + after are {count}: ask for fewer", field="after"
        )
    return found
