"""Hugging Face's Hub: saved models up, and down again. Nothing here runs code of a repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clmer.errors import DataError
from clmer.pipeline.share.saved import CARD, CONFIG, WEIGHTS

#: What stands before a repository of the Hub, so that none is taken for a folder.
SCHEME = "hf://"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_REPOSITORY = re.compile(rf"({_PART}/{_PART})")
_ADDRESS = re.compile(rf"hf://({_PART}/{_PART})(?:@([A-Za-z0-9._/-]+))?")


def local_folder(source: Path | str) -> Path:
    """The folder of a run or a saved model.

    Args:
        source: a folder; or "hf://user/name", with "@" and a branch, tag or commit behind it, which
            is downloaded into the Hub's cache where it is not there yet.

    Raises:
        DataError: it is no such address, huggingface-hub is not installed, or the Hub does not give
            it.
    """
    if not (isinstance(source, str) and source.startswith(SCHEME)):
        return Path(source)
    found = _ADDRESS.fullmatch(source)
    if found is None:
        raise DataError(source, "address", "no repository", "hf://user/name or hf://user/name@tag")
    hub = import_hub()
    with _refused(hub, source, "download"):
        return Path(
            hub.snapshot_download(
                found[1], revision=found[2], allow_patterns=[CONFIG, WEIGHTS, CARD]
            )
        )


def upload(folder: Path, repo_id: str, *, private: bool, token: str | None, message: str) -> str:
    """Put a saved model's folder into a repository of the Hub, which is made where it is not there.

    Args:
        folder: the saved model.
        repo_id: "user/name".
        private: of a new repository; one that is there has to be private too, where it is True.
        token: of the Hub; None for the one that `hf auth login` keeps.
        message: of the commit.

    Returns:
        The commit's address.

    Raises:
        DataError: huggingface-hub is not installed, the Hub refuses, or the repository is public
            and `private` is True.
    """
    hub = import_hub()
    check_repository(repo_id)
    api = hub.HfApi(token=token)
    with _refused(hub, repo_id, "upload"):
        api.create_repo(repo_id, private=private, exist_ok=True)
        is_public = private and not api.repo_info(repo_id).private
    if is_public:
        hint = "Choose another repository, or say `private=False`."
        raise DataError(repo_id, "`private`", "a public repository", "a private one", hint)
    with _refused(hub, repo_id, "upload"):
        done = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    return str(done.commit_url)


def check_repository(repo_id: str) -> None:
    """Refuse what is no repository's name.

    Raises:
        DataError: it is none.
    """
    if not _REPOSITORY.fullmatch(repo_id):
        raise DataError(repo_id, "`repo_id`", "no repository's name", "user/name, as on the Hub")


def import_hub() -> Any:
    """`huggingface_hub`.

    Raises:
        DataError: it is not installed.
    """
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise DataError(
            "huggingface-hub", "package", "nothing", "huggingface-hub", 'pip install "clmer[hub]"'
        ) from error
    return huggingface_hub


@contextmanager
def _refused(hub: Any, name: str, what: str) -> Iterator[None]:
    """Say of what the Hub or the network refuses which repository it was, and how to go on."""
    try:
        yield
    except (OSError, ValueError, hub.errors.HTTPError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = "Is the network there, the name right, and are you logged in (`hf auth login`)?"
        raise DataError(name, what, said, "a repository that the Hub gives you", hint) from error
