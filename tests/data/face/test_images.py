"""Pictures of faces as modalities: which one stands for a window, what becomes of it, errors."""

import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from clmer.data.face import read_openface
from clmer.data.face.images import FaceImages, downsampled, find_images, folder_of
from clmer.data.registry import DATASETS
from clmer.data.store.options import PrepareOptions
from clmer.data.store.prepare import prepare
from clmer.data.synthetic import write_deap
from clmer.data.synthetic.images import draw, draw_faces
from clmer.data.synthetic.signals import neutral_face
from clmer.errors import ConfigError, DataError
from clmer.pipeline.presets import build
from clmer.pipeline.tokenizer import Tokenizer, WindowArrays, raw_tokens


def save(folder, numbers, pattern="frame_det_00_{:06d}.bmp", size=112):
    """Pictures whose grey level is their number."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        Image.new("RGB", (size, size), (number,) * 3).save(folder / pattern.format(number))
    return folder


@pytest.fixture(scope="module")
def deap(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "deap"
    write_deap(root, people=2, trials=2, seconds=3, fps=25)
    draw_faces(root)
    return root


def prepared(root, cache, *names):
    options = PrepareOptions(modalities=names)
    return prepare(DATASETS["deap"], root, options, cache=cache, progress=False)


def test_the_nearest_picture_within_reach_stands_for_a_frame(tmp_path):
    folder = save(tmp_path / "p_aligned", [3, 10, 11])
    images = FaceImages(folder, np.arange(1, 31))  # OpenFace counts frames from 1
    pictures, found = images.near(np.array([0, 2, 8, 10, 13, 20]), reach=3)
    assert found.tolist() == [True, True, True, True, True, False]
    assert pictures[:, 0, 0, 0].tolist() == [3, 3, 10, 11, 11, 0]
    later = images.at(slice(5, None))
    assert later.near(np.array([4]), reach=0)[0][0, 0, 0, 0] == 10


@pytest.mark.parametrize("pattern", ["frame_det_{:06d}.png", "frame_det_00_{:06d}.jpg"])
def test_both_of_openface_s_names_and_three_formats_are_read(tmp_path, pattern):
    folder = save(tmp_path / "p_aligned", [7], pattern)
    pictures, found = FaceImages(folder, np.arange(10)).near(np.array([7]), reach=0)
    assert found.all()
    assert (pictures == 7).all()


def test_downsampling_averages_and_keeps_pixels_together():
    picture = np.zeros((1, 112, 112, 3), dtype=np.uint8)
    picture[0, :, 56:, 0] = 255  # the right half is red
    picture[0, 56:, :, 2] = 102  # the lower one has some blue
    rows = downsampled(picture)
    assert rows.shape == (1, 32, 96)
    pixels = rows.reshape(1, 32, 32, 3)
    np.testing.assert_array_equal(pixels[0, :, 16:, 0], 1.0)
    np.testing.assert_array_equal(pixels[0, :, :16, 0], 0.0)
    np.testing.assert_allclose(pixels[0, 16:, :, 2], 0.4)
    assert pixels[..., 1].max() == 0
    noise = np.random.default_rng(0).integers(0, 255, (1, 112, 112, 3), dtype=np.uint8)
    np.testing.assert_allclose(downsampled(noise).mean(), noise.mean() / 255, atol=2e-3)


@pytest.mark.parametrize(
    ("make", "field", "found"),
    [
        (lambda folder: None, "folder", "no frame_det_00_"),
        (lambda folder: save(folder, [1], size=64), "size", "64 x 64"),
        (
            lambda folder: (folder / "frame_det_00_000001.bmp").write_bytes(b"BM"),
            "picture",
            "cannot identify",
        ),
    ],
)
def test_what_is_no_aligned_face_is_refused(tmp_path, make, field, found):
    folder = tmp_path / "p_aligned"
    folder.mkdir()
    make(folder)
    with pytest.raises(DataError, match=found) as error:
        FaceImages(folder, np.arange(3)).near(np.array([1]), reach=1)
    assert error.value.field == field
    assert "-simalign" in str(error.value)


def test_a_csv_without_frames_or_pictures_has_none(tmp_path):
    assert find_images(tmp_path / "p.csv", np.arange(3)) is None
    save(tmp_path / "p_aligned", [1])
    assert find_images(tmp_path / "p.csv", None) is None
    assert find_images(tmp_path / "p.csv", np.arange(3)) is not None


def test_drawn_faces_show_the_expression_and_are_drawn_once(deap):
    folders = sorted(deap.rglob("*_aligned"))
    assert [len(list(folder.iterdir())) for folder in folders] == [3] * 4
    before = [os.stat(path).st_mtime_ns for path in folders]
    draw_faces(deap)
    assert [os.stat(path).st_mtime_ns for path in folders] == before
    points, calm = neutral_face(), np.zeros(17)
    smile = calm.copy()
    smile[[4, 8]] = 4  # AU06, AU12
    brows = points.copy()
    brows[17:27, 1] -= 3
    assert (draw(points, calm) != draw(points, smile)).any()
    assert (draw(points, calm) != draw(brows, calm)).any()


def test_pictures_become_modalities_of_the_windows(deap, tmp_path):
    store = prepared(deap, tmp_path, "physio", "pixels", "pixel-rows")
    assert store.array("pixels").shape == (12, 32, 96)
    np.testing.assert_array_equal(store.array("pixels"), store.array("pixel-rows"))
    inputs = Tokenizer.fit(WindowArrays.of(store), np.arange(12), "raw")
    arrays = {name: store.array(name) for name in store.modalities}
    x = inputs.standardise(arrays, torch.device("cpu"))
    tokens = raw_tokens(store, x)
    assert tokens["pixels"].shape == (12, 1024, 3)
    assert tokens["pixel-rows"].shape == (12, 32, 96)
    # The picture is that of the window's own second.
    row = int(np.flatnonzero(store.windows.start_s == 1)[0])
    subject, trial = store.windows.recording[row].split("/")
    rated = (deap / "metadata_csv" / "participant_ratings.csv").read_text().splitlines()[1:]
    cells = [line.split(",") for line in rated]
    shown = next(
        c[1] for c in cells if int(c[0]) == int(subject[1:]) and int(c[2]) == int(trial[1:])
    )
    face = read_openface(deap / "face" / subject / f"{subject}_trial{int(shown):02d}.csv")
    assert face.images is not None
    expected, _ = face.images.near(np.array([37]), reach=12)
    np.testing.assert_array_equal(store.array("pixels")[row], downsampled(expected)[0])


def test_windows_without_a_picture_are_left_out_and_new_pictures_make_a_new_store(deap, tmp_path):
    import shutil

    root = tmp_path / "deap"
    shutil.copytree(deap, root)
    folder = sorted(root.rglob("*_aligned"))[0]
    first = prepared(root, tmp_path / "cache", "physio", "pixels")
    plain = prepared(root, tmp_path / "cache", "physio", "landmarks")
    sorted(folder.iterdir())[0].unlink()
    second = prepared(root, tmp_path / "cache", "physio", "pixels")
    assert (len(first.windows), len(second.windows)) == (12, 11)
    assert second.report["windows_dropped"] == {"face lost": 1}
    again = prepared(root, tmp_path / "cache", "physio", "landmarks")
    assert again.fingerprint == plain.fingerprint
    shutil.rmtree(folder)
    third = prepared(root, tmp_path / "cache", "physio", "pixels")
    assert list(third.report["recordings_skipped"].values()) == ["no pixels from OpenFace"]


def test_pictures_are_no_series_for_the_contrastive_stage():
    given = {"device": "cpu", "modalities": ["physio", "pixels"]}
    with pytest.raises(ConfigError, match="`contrastive=False`"):
        build("deap", given)
    assert build("deap", given | {"contrastive": False}).modalities == ("physio", "pixels")


# --- MobileViT ------------------------------------------------------------------------------------
def test_a_missing_package_is_named(monkeypatch):
    mobilevit = pytest.importorskip("clmer.data.mobilevit")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DataError, match=r'package: .*pip install "clmer\[transformers\]"'):
        mobilevit.embedder()


def test_mobilevit_s_makes_16_patches_of_640_features(tmp_path):
    mobilevit = pytest.importorskip("clmer.data.mobilevit")
    transformers = pytest.importorskip("transformers")
    images = np.random.default_rng(0).integers(0, 255, (3, 112, 112, 3), dtype=np.uint8)
    random = mobilevit.embedder()(images)
    assert random.shape == (3, 16, 640)
    assert random.std(axis=0).mean() > 1e-4  # random weights, but features that differ
    np.testing.assert_array_equal(random, mobilevit.embedder()(images))

    torch.manual_seed(1)
    saved = transformers.MobileViTModel(transformers.MobileViTConfig())
    for norm in saved.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(norm.running_var, 1e-3)
    saved.save_pretrained(tmp_path)
    found = mobilevit.embedder(tmp_path)(images)
    x = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2) / 255  # blue first
    with torch.no_grad():
        expected = saved.eval()(pixel_values=x).last_hidden_state
    assert expected.shape == (3, 640, 4, 4)
    np.testing.assert_allclose(found[:, 6], expected[:, :, 1, 2], rtol=1e-4, atol=1e-6)
    digest = mobilevit.weights_digest(tmp_path)
    assert len(digest) == 64
    assert mobilevit.weights_digest(None) == "random"


def test_a_folder_without_weights_is_refused(tmp_path):
    from clmer.data.mobilevit import embedder, weights_digest

    with pytest.raises(DataError, match="mobilevit-small"):
        embedder(tmp_path)
    with pytest.raises(DataError, match="mobilevit-small"):
        weights_digest(tmp_path)


def test_the_folder_is_the_csv_s_own(tmp_path):
    assert folder_of(tmp_path / "s01_trial01.csv") == tmp_path / "s01_trial01_aligned"
