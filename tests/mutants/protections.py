"""The protections that this project stands on, what each looks like in the code, and the test that misses it."""

from typing import NamedTuple


class Protection(NamedTuple):
    """One line of code that keeps a promise."""

    name: str
    path: str
    stands: str
    """What is there, once."""
    broken: str
    """What takes its place."""
    tests: tuple[str, ...]
    """What must fail then: arguments of pytest."""


CREATIONS = "tests/actors/test_creations.py"
SEQUENCE = "tests/actors/test_sequence.py"

PROTECTIONS = (
    Protection(
        "a client whose create failed is killed",
        "actors/_service/_creations.py",
        "            creation.client.kill()\n        else:",
        "            pass\n        else:",
        (CREATIONS, "-k", "two_hundred"),
    ),
    Protection(
        "a create that nobody waits for is undone",
        "actors/_service/_creations.py",
        '        self._fail(creation, cancelled(creation.name, "unknown"))',
        "        pass",
        ("tests/actors/test_clock_promises.py", "-k", "create"),
    ),
    Protection(
        "a model number is used once in a session",
        "actors/_service/_creations.py",
        "        seq_id = next(self._model_seq_ids)",
        "        seq_id = 0",
        (CREATIONS, "-k", "model_seq_ids"),
    ),
    Protection(
        "what a client holds is released however it ends",
        "actors/_training/_holder.py",
        "        actor.add_finalizer(self._holdings.end)",
        "        pass",
        ("tests/actors/test_load_in_place.py", "-k", "ends_in_mid_load"),
    ),
    Protection(
        "every repeat of create_session has one key",
        "actors/_leases/_acquire.py",
        'headers={"x-idempotency-key": session.idempotency_key}',
        "headers={}",
        ("tests/faults/test_faults.py", "-k", "two_thousand"),
    ),
    Protection(
        "a refused number is used by the next request",
        "actors/_training/_sequence.py",
        "            self.next_seq_id = part.seq_id\n",
        "            pass\n",
        (SEQUENCE,),
    ),
    Protection(
        "an unknown outcome makes the client suspect",
        "actors/_training/_sequence.py",
        'return answers + self.suspect(error, f"the outcome of {operation.name} is unknown", operation)',
        "return answers",
        (SEQUENCE,),
    ),
    Protection(
        "failed gradients make the client suspect",
        "actors/_training/_sequence.py",
        "        if operation.makes_gradients:\n",
        "        if False:\n",
        (SEQUENCE,),
    ),
    Protection(
        "a step is Ok only when the passes before it are",
        "actors/_training/_sequence.py",
        "        if self._in_doubt(operation):\n            self.held",
        "        if False:\n            self.held",
        (SEQUENCE,),
    ),
    Protection(
        "a suspect client sends nothing more",
        "actors/_training/_sequence.py",
        "        if self.suspicion is not None:\n            return [self._refusal(operation)]\n",
        "",
        (SEQUENCE,),
    ),
    Protection(
        "a load is a barrier",
        "actors/_training/_training_client.py",
        "        if self._loads.open:\n            return self._loads.wait_behind(name, message,",
        "        if False:\n            return self._loads.wait_behind(name, message,",
        ("tests/actors/test_load_in_place.py", "-k", "barrier"),
    ),
    Protection(
        "what waits behind a failed load is not sent",
        "actors/_training/_loads.py",
        "            if isinstance(result, Err):\n                self._actor.end_call(behind.call,",
        "            if False:\n                self._actor.end_call(behind.call,",
        ("tests/actors/test_load_in_place.py", "-k", "load_that_fails"),
    ),
    Protection(
        "a lost reply leaves the outcome open",
        "actors/_transport/_sending.py",
        "        if isinstance(attempt, Lost):\n            self.ambiguous = True\n",
        "",
        ("tests/actors/test_sending.py",),
    ),
    Protection(
        "only the server's own words refuse",
        "actors/_transport/_sending.py",
        "        if own and reply.status in _CLIENT_ERRORS:",
        "        if reply.status in _CLIENT_ERRORS:",
        ("tests/actors/test_wire_meanings.py",),
    ),
    Protection(
        "a checkpoint is ours by proof",
        "actors/_training/_proof.py",
        "return bool(metadata[NONCE_KEY] == operation.nonce)",
        "return True",
        ("tests/actors/test_drift.py", "-k", "nonce"),
    ),
    Protection(
        "a proxy's page ends no session",
        "actors/_leases/_acquire.py",
        "and attempt.status in (404, 410) and own_words(attempt) is not None:",
        "and attempt.status in (404, 410):",
        ("tests/actors/test_foreign_answers.py",),
    ),
    Protection(
        "a result is asked for at most twice a second",
        "actors/_transport/_backoff.py",
        "return max(wait, POLL_FLOOR_SECONDS + rng.uniform(0.0, POLL_JITTER_SECONDS))",
        "return wait",
        ("tests/actors/test_courtesy.py", "-k", "at_most_twice"),
    ),
    Protection(
        "one request tries an open circuit",
        "actors/_transport/_circuit.py",
        "            self._probe = permit.number\n",
        "            pass\n",
        ("tests/actors/test_circuit.py",),
    ),
    Protection(
        "await_timeout ends a wait",
        "actors/_training/_pipeline.py",
        "        self._withdraw(operation, await_timeout(operation.name, seconds, operation.outcome))",
        "        pass",
        ("tests/actors/test_clock_promises.py", "-k", "await_timeout"),
    ),
    Protection(
        "a closed mailbox takes nothing",
        "actors/_genserver/_mailbox.py",
        "            if self.state > limit:\n                return False\n            self._queue.append(envelope)",
        "            self._queue.append(envelope)",
        ("tests/actors/test_mailbox.py",),
    ),
    Protection(
        "the first answer counts",
        "actors/_genserver/_once.py",
        "        if not self._gate.acquire(False):\n            return False\n",
        "",
        ("tests/actors/test_once.py",),
    ),
    Protection(
        "a handler's exception crashes its actor alone",
        "actors/_genserver/_genserver.py",
        "        except BaseException as error:  # noqa: BLE001 - a crash; pykka would stop every actor of the process",
        "        except ZeroDivisionError as error:",
        ("tests/actors/test_genserver_crash.py",),
    ),
    Protection(
        "a supervisor gives up after too many restarts",
        "actors/_supervision/_policy.py",
        "        return len(self._recent) <= self._max_restarts",
        "        return True",
        ("tests/actors/test_restart_policy.py", "tests/actors/test_restarts.py"),
    ),
    Protection(
        "a lease is written down before it is asked for",
        "actors/_leases/_lease.py",
        "            self._ledger.note(SessionIntended(",
        "            print((",
        ("tests/actors/test_ledger_machine.py", "tests/actors/test_ledger_clients.py"),
    ),
    Protection(
        "a ledger that a living process holds is left alone",
        "actors/_leases/_ledger_file.py",
        'return "no locks" if error.errno in _NO_LOCKS else "theirs"',
        'return "ours"',
        ("tests/actors/test_ledger_files.py",),
    ),
    Protection(
        "a finish waits for what a zombie is running",
        "engine/_service/_lifecycle.py",
        "        await engine.rest(model.model_id)",
        "        pass",
        ("tests/engine/test_finished_sessions.py", "-k", "was_running"),
    ),
    Protection(
        "the id of a session names no other address",
        "actors/_leases/_acquire.py",
        "{quote(session_id, safe=':')}",
        "{session_id}",
        ("tests/actors/test_finish_session.py", "-k", "odd_id"),
    ),
    Protection(
        "capabilities are told once the compute part is known",
        "engine/_service/_engine.py",
        "        await self._loaded.wait()",
        "        pass",
        ("tests/engine/test_http_models.py", "-k", "bits_of_results"),
    ),
    Protection(
        "a watcher that was stopped itself blames nobody",
        "actors/_trainer/_pulse_watch.py",
        "min(max(now - previous.looked, 0.0), LOOK_SECONDS)",
        "max(now - previous.looked, 0.0)",
        ("tests/trainer/test_pulse.py", "-k", "stopped_itself"),
    ),
    Protection(
        "a pause by the server excuses a run from getting on",
        "actors/_trainer/_pulse_watch.py",
        ' or run.state.startswith("paused")',
        "",
        ("tests/trainer/test_pulse.py", "-k", "excuse"),
    ),
    Protection(
        "an update behind a save has the time for that too",
        "actors/_trainer/_watchdog.py",
        '            budget += self.budget("checkpoint")',
        "            pass",
        ("tests/trainer/test_watchdog.py", "-k", "behind_a_save"),
    ),
    Protection(
        "a rollback forgets the losses that it undid",
        "actors/_trainer/_loss_watch.py",
        "        self.rewind(update - 1)",
        "        pass",
        ("tests/trainer/test_loss_watch.py", "-k", "rewind"),
    ),
    Protection(
        "a second signal ends at once",
        "actors/_trainer/_signals.py",
        "        raise SystemExit(_EXIT_BASE + number)",
        "        return",
        ("tests/trainer/test_signals.py", "-k", "ends_at_once"),
    ),
    Protection(
        "a group is signalled only while its number is its own",
        "cli/_jobs/_process_group.py",
        "        if self._child.returncode is None:",
        "        if self.pid:",
        ("tests/cli/test_supervise.py", "-k", "number_is_its_own"),
    ),
    Protection(
        "what a dead child left behind is ended before another starts",
        "cli/_jobs/_supervise.py",
        "(not group.others() or ",
        "(not None or ",
        ("tests/cli/test_supervise.py", "-k", "left_behind_is_ended"),
    ),
    Protection(
        "a process that was stopped is woken to end",
        "cli/_jobs/_supervise.py",
        "        group.signal(signal.SIGCONT)",
        "        pass",
        ("tests/cli/test_supervise.py", "-k", "frozen_process_is_woken"),
    ),
    Protection(
        "a resume that nothing shows has not passed",
        "protocol/_resume_verdict.py",
        "    passed = within and cold_differs and finite",
        "    passed = within",
        ("tests/protocol/test_resume_verdict.py", "-k", "nothing_is_shown"),
    ),
    Protection(
        "the sessions of earlier trainers are finished before a model is made",
        "actors/_trainer/_opening.py",
        "        if not self._sessions:\n",
        "        if self._sessions is not None:\n",
        ("tests/trainer/test_zombies.py",),
    ),
    Protection(
        "what no checkpoint holds is bounded by the policy",
        "actors/_trainer/_training.py",
        "            if not self._saves.room(self.course.sent, self._depth):\n",
        "            if self.closed:\n",
        ("tests/trainer/test_trainer_at_risk.py",),
    ),
    Protection(
        "a failure behind a takeover is told as the takeover",
        "actors/_trainer/_running.py",
        "            self._give_up(error)\n",
        "            self.fail(error)\n",
        ("tests/trainer/test_trainer_taken_over.py",),
    ),
    Protection(
        "a manifest's cursor is that behind the last update that was sent",
        "actors/_trainer/_training.py",
        "        self._sent_cursor = prepared.cursor\n",
        "        self._sent_cursor = self._next_cursor\n",
        ("tests/chaos/test_chaos.py",),
    ),
)
