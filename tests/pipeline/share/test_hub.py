"""The Hub, by stand-ins for its client: nothing goes up, nothing comes down."""

import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from support.share_cases import fitted, windows

import clmer
from clmer.errors import DataError
from clmer.pipeline.share.hub import local_folder

hub = pytest.importorskip("huggingface_hub")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    options = {"classifier": "fusion", "contrastive": False}
    return fitted(tmp_path_factory.mktemp("run"), options)


@pytest.fixture
def repositories(tmp_path, monkeypatch):
    """What was asked of the Hub; its repositories are folders in `tmp_path`, a/public is there."""
    calls, are_private = [], {"a/public": False}

    class Api:
        def __init__(self, token=None):
            calls.append(("token", token))

        def create_repo(self, repo_id, *, private, exist_ok):
            calls.append(("create", repo_id, private, exist_ok))
            are_private.setdefault(repo_id, private)

        def repo_info(self, repo_id):
            calls.append(("info", repo_id))
            return SimpleNamespace(private=are_private[repo_id])

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, tmp_path / repo_id)
            calls.append(("upload", repo_id, commit_message))
            return SimpleNamespace(commit_url=f"https://huggingface.co/{repo_id}/commit/1")

    def download(repo_id, *, revision, allow_patterns):
        calls.append(("download", repo_id, revision, sorted(allow_patterns)))
        return str(tmp_path / repo_id)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "snapshot_download", download)
    return calls


def test_up_and_down_again(trained, repositories, tmp_path):
    url = trained.push_to_hub("someone/calm-or-tense", license="cc-by-nc-4.0")
    assert url == "https://huggingface.co/someone/calm-or-tense/commit/1"
    assert repositories == [
        ("token", None),
        ("create", "someone/calm-or-tense", True, True),
        ("info", "someone/calm-or-tense"),
        ("upload", "someone/calm-or-tense", "Model saved by CLMER"),
    ]
    place = tmp_path / "someone" / "calm-or-tense"
    assert sorted(path.name for path in place.iterdir()) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    card = (place / "README.md").read_text()
    assert 'clmer.load("hf://someone/calm-or-tense")' in card
    loaded = clmer.load("hf://someone/calm-or-tense@main")
    files = ["README.md", "config.json", "model.safetensors"]
    assert repositories[-1] == ("download", "someone/calm-or-tense", "main", files)
    found = loaded.predict_proba(windows())
    np.testing.assert_array_equal(found, trained.predict_proba(windows()))
    trained.push_to_hub("someone/open", private=False, token="t", commit_message="First")
    assert repositories[-3:] == [
        ("token", "t"),
        ("create", "someone/open", False, True),
        ("upload", "someone/open", "First"),
    ]


def test_nothing_goes_to_a_public_repository_unless_told(trained, repositories, tmp_path):
    message = "a/public: `private`: found a public repository, expected a private one.*private=Fal"
    with pytest.raises(DataError, match=message):
        trained.push_to_hub("a/public")
    assert repositories[-1] == ("info", "a/public")
    assert not (tmp_path / "a").exists()
    trained.push_to_hub("a/public", private=False)
    assert repositories[-1] == ("upload", "a/public", "Model saved by CLMER")


def test_a_folder_is_never_taken_for_a_repository(repositories, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/x", "user/name", tmp_path / "runs" / "x"):
        with pytest.raises(DataError, match=r"config.json: found nothing, expected a run's folder"):
            clmer.load(name)
        assert local_folder(name) == type(tmp_path)(name)
    assert repositories == []


@pytest.mark.parametrize(
    "address", ["hf://", "hf://user", "hf://user/a b", "hf://a/b/c", "hf:///x"]
)
def test_what_is_no_address_is_named(repositories, address):
    with pytest.raises(DataError, match="address: found no repository, expected hf://user/name"):
        clmer.load(address)
    assert repositories == []


@pytest.mark.parametrize("name", ["name", "../x", "user/na me", "hf://user/name", "a/b/c"])
def test_what_is_no_repositorys_name_is_named(trained, repositories, name):
    with pytest.raises(DataError, match="`repo_id`: found no repository's name, expected"):
        trained.push_to_hub(name)
    assert repositories == []


def test_without_huggingface_hub_it_says_what_to_install(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: trained.push_to_hub("a/b"), lambda: clmer.load("hf://a/b")):
        with pytest.raises(
            DataError, match=r'package: found nothing, .* pip install "clmer\[hub\]"'
        ):
            call()


@pytest.mark.parametrize("error", [OSError("no route"), ValueError("odd name"), "http"])
def test_what_the_hub_refuses_is_said(trained, repositories, monkeypatch, error):
    wrong = hub.errors.HTTPError("403 Forbidden\nmore") if error == "http" else error

    def refuse(*given, **options):
        raise wrong

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    monkeypatch.setattr(hub.HfApi, "create_repo", refuse)
    said = "403 Forbidden" if error == "http" else str(error)
    with pytest.raises(DataError, match=f"hf://a/b: download: found {said}, .*hf auth login"):
        clmer.load("hf://a/b")
    with pytest.raises(DataError, match=f"a/b: upload: found {said}, "):
        trained.push_to_hub("a/b")
