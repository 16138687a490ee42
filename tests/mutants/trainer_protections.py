"""The protections of supervised runs."""

from mutants.protection import Protection

TRAINERS = (
    Protection(
        "a trainer that was taken over does not take its run back",
        "actors/_runs/_store.py",
        "            if held is not None and held != epoch:\n",
        "            if epoch < 0:\n",
        ("tests/runs/test_run_store.py", "-k", "taken_over_changes_nothing"),
    ),
    Protection(
        "a session is written down by who holds the run only",
        "actors/_runs/_store.py",
        "                return False\n            change.execute(query, (name, session_id",
        "                pass\n            change.execute(query, (name, session_id",
        ("tests/runs/test_run_store.py", "-k", "taken_over_changes_nothing"),
    ),
    Protection(
        "what a trainer wrote after it was taken over is of no lineage",
        "actors/_runs/_lineage.py",
        "position.update <= line.get(position.epoch, -1)",
        "position.epoch in line",
        ("tests/runs/test_lineage.py",),
    ),
    Protection(
        "a manifest is never written over",
        "actors/_runs/_durable.py",
        "            os.link(new, path)  # never over another one, as a rename would",
        "            os.replace(new, path)",
        ("tests/runs/test_manifest_files.py", "-k", "never_written_over"),
    ),
    Protection(
        "the last verified checkpoint is kept",
        "actors/_runs/_retention.py",
        "    if not good:\n",
        "    if good is None:\n",
        ("tests/runs/test_retention.py",),
    ),
    Protection(
        "a checkpoint is restored with its optimizer",
        "actors/_trainer/_opening.py",
        "            manifest.path, optimizer=True, owner=",
        "            manifest.path, optimizer=False, owner=",
        ("tests/trainer/test_trainer_engine.py", "-k", "stopped_goes_on"),
    ),
    Protection(
        "other inputs are refused",
        "actors/_trainer/_opening.py",
        "        if differing:\n",
        "        if not self._run:\n",
        ("tests/trainer/test_trainer_keeping.py", "-k", "refused_by_name"),
    ),
    Protection(
        "a checkpoint counts once its updates were read",
        "actors/_trainer/_saves.py",
        "        if not save.listed or save.measured is None or",
        "        if not save.listed or",
        ("tests/trainer/test_trainer_world.py", "-k", "counts_only_once"),
    ),
    Protection(
        "a run that has a checkpoint does not begin again",
        "actors/_trainer/_opening.py",
        "            self._fail(nothing_left(self._config.run))\n",
        "            self._create_fresh()\n",
        ("tests/trainer/test_trainer_keeping.py", "-k", "does_not_begin_again"),
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
        "            self._give_up(error, partial(self.fail, error))\n",
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
