"""Programs that manage checkpoints and sessions."""

import io
import tarfile
import urllib.request
from typing import Any

from conformance.user import User, program, train, types


def saved(user: User, name: str) -> tuple[Any, str]:
    client = user.create()
    train(client, 1)
    return client, client.save_state(name).result().path


@program
def a_checkpoint_is_published_and_made_private_again(user: User) -> None:
    _, path = saved(user, "to-publish")
    run = path.split("/")[2]

    def public() -> bool:
        listed = user.rest.list_checkpoints(run).result().checkpoints
        return bool(next(one.public for one in listed if one.tinker_path == path))

    assert not public()
    user.rest.publish_checkpoint_from_tinker_path(path).result()
    assert public()
    user.rest.unpublish_checkpoint_from_tinker_path(path).result()
    assert not public()


@program
def a_session_goes_into_a_project(user: User) -> None:
    _, path = saved(user, "in-a-project")
    session = path.split("/")[2].split(":")[0]
    user.rest.assign_session_project(session, "project-x").result()
    runs = user.rest.list_training_runs(limit=100, offset=0).result().training_runs
    assert path.split("/")[2] in [run.training_run_id for run in runs]


@program
def an_adapter_is_fetched_for_other_programs(user: User) -> None:
    client, path = saved(user, "to-fetch")
    if hasattr(user.rest, "get_checkpoint_archive_url_from_tinker_path"):
        url = user.rest.get_checkpoint_archive_url_from_tinker_path(path).result().url
        with urllib.request.urlopen(url) as answer:
            raw = io.BytesIO(answer.read())
        with tarfile.open(fileobj=raw, mode="r:") as archive:
            names = archive.getnames()
        assert names == ["adapter_config.json", "adapter_model.safetensors", "checkpoint_complete"]
        return
    external = client.save_weights_external("for-others").result()
    found = user.rest.get_external_weights_urls(external.path).result()
    for file, url in found.urls.items():
        with urllib.request.urlopen(url) as answer:
            assert answer.read(), file
    assert set(found.urls) == {"adapter_config.json", "adapter_model.safetensors"}


@program
def a_checkpoint_is_copied_into_a_project(user: User) -> None:
    if not hasattr(user.rest, "copy_weights"):
        return
    client, path = saved(user, "to-copy")
    copy = user.rest.copy_weights(path, "project-y").result()
    assert copy != path
    resumed = user.resume(copy, optimizer=True)
    assert train(resumed, 1) == train(client, 1)


@program
def sessions_are_searched(user: User) -> None:
    if not hasattr(user.rest, "search_sessions"):
        return
    _, path = saved(user, "to-search")
    session = path.split("/")[2].split(":")[0]
    found = user.rest.search_sessions(types.SessionSearchRequest(session_id=session)).result()
    assert [one.session_id for one in found.sessions] == [session]
