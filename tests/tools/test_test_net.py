"""The test program: its numbers, its files, its pictures and its complaints."""

import csv
import dataclasses
import json
import pickle
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from checkout import ROOT
from onnx_file import net_that_sees
from scipy import stats

from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError
from data_prep.common.images import read_photo
from data_prep.datasets.dataset import Dataset
from data_prep.datasets.manifest import DatasetManifest
from data_prep.datasets.resume import Journal
from tools import convert_selfie, test_net
from tools.evaluation import contact_sheet, error_report
from tools.evaluation import portraits as portrait_errors
from tools.evaluation.matte_sources import GivenMattes, ModelMattes, SegmenterMattes
from tools.evaluation.measuring import ALL, PRINTED, UNKNOWN_REGION, Measurement, PhotoErrors, Task
from tools.evaluation.metrics import evaluate, unknown_region
from tools.evaluation.truths import MATTES, PhotoTruth, truths_of_portraits
from tools.matting.face_detector import FaceDetector
from tools.matting.predictor import Predictor
from tools.matting.segmenter import Segmenter
from tools.matting.segmenter_settings import SegmenterSettings
from tools.matting.session import Matte, MattingSession
from tools.outputs import sheets

PROGRAM = Path(test_net.__file__)
SAMPLE = ROOT / "data" / "sample"


@dataclasses.dataclass(frozen=True)
class Ovals:
    """Soft ovals, whatever the photos show: real mattes with real errors."""

    faces: tuple = ()
    name: str = "ovals"
    key: str = "ovals"

    @property
    def about(self) -> dict:
        return {"model": self.name}

    def files_for(self, truth: PhotoTruth) -> list[Path]:
        return []

    def matte(self, truth: PhotoTruth, photo: np.ndarray) -> Matte:
        height, width = photo.shape[:2]
        y, x = np.mgrid[:height, :width]
        radius = np.hypot((x / width - 0.5) * 2.2, (y / height - 0.75) * 1.8)
        alpha = np.rint(255 * np.clip((1.1 - radius) * 4, 0, 1)) / 255
        probabilities = np.stack([alpha == 1, alpha == 0, (alpha > 0) & (alpha < 1)])
        return Matte(photo, alpha, probabilities.astype(float), self.faces, person_found=True)


def shrunken(folder: Path, size: tuple[int, int], train: list[str], test: list[str]) -> Path:
    """A dataset of sample portraits, resized to (width, height)."""
    for part in ("images", "mattes"):
        (folder / part).mkdir(parents=True)
        for stem in train + test:
            (source,) = (SAMPLE / part).glob(f"{stem}.*")
            image = cv2.imread(str(source), cv2.IMREAD_UNCHANGED)
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folder / part / f"{stem}.png"), small)
    (folder / "train.txt").write_text("\n".join(train) + "\n")
    (folder / "test.txt").write_text("\n".join(test) + "\n")
    return folder


@pytest.fixture
def small_dataset(tmp_path) -> Path:
    """Four tiny portraits, two of them in the test list."""
    stems = (SAMPLE / "train.txt").read_text().split()
    return shrunken(tmp_path / "small", (100, 133), stems[:2], stems[2:4])


@pytest.fixture(scope="module")
def half_size(tmp_path_factory) -> Path:
    """The sample's test portraits at half size, where faces are still found."""
    train, test = ((SAMPLE / f"{name}.txt").read_text().split() for name in ("train", "test"))
    return shrunken(tmp_path_factory.mktemp("half") / "half", (300, 400), train[:1], test)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """The segmenter's weights, converted from its original."""
    path = tmp_path_factory.mktemp("models") / "selfie.caffemodel"
    convert_selfie.main(["-o", str(path)])
    return path


def program(*arguments: object) -> list[str]:
    return [sys.executable, "-u", str(PROGRAM), *map(str, arguments)]


def truths_of(folder: Path) -> list[PhotoTruth]:
    return truths_of_portraits(folder, Dataset.open(folder).test)


def results_of(folder: Path) -> list[PhotoErrors]:
    task = Task(Ovals(), MATTES)
    return [task.measure(truth)[0] for truth in truths_of(folder)]


def name_people(folder: Path, person: dict[str, int]) -> None:
    """Write who is on a dataset's photos into its manifest."""
    portraits = {stem: {"person": number} for stem, number in person.items()}
    DatasetManifest(portraits=portraits).save(folder)


def test_errors_are_those_of_the_files_in_all_pixels_and_in_the_unknown_region(small_dataset):
    for truth, result in zip(truths_of(small_dataset), results_of(small_dataset)):
        matte = cv2.imread(str(small_dataset / "mattes" / f"{result.name}.png"), 0) / 255.0
        alpha = Ovals().matte(truth, truth.read_photo()).alpha
        values, reference = result.values[ALL], result.reference[ALL]
        assert values["sad"] == pytest.approx(np.abs(alpha - matte).sum() / 1000)
        assert values["mse"] == pytest.approx(np.mean((alpha - matte) ** 2))
        assert reference["sad"] == pytest.approx(np.abs(0.5 - matte).sum() / 1000)
        for region, counted in ((ALL, None), (UNKNOWN_REGION, unknown_region(matte))):
            wanted = dataclasses.asdict(evaluate(alpha, matte, counted))
            standard = wanted["sad"] * 480000 / matte.size
            assert result.values[region] == {**wanted, "sad_600x800": pytest.approx(standard)}
        assert 0 < result.values[UNKNOWN_REGION]["sad"] < values["sad"]


def test_written_files_agree_with_each_other(small_dataset, tmp_path):
    results = results_of(small_dataset)
    out = tmp_path / "out"
    error_report.write_error_report(out, results, MATTES, "an_oval", {"model": "oval"})
    report = json.loads((out / "errors.json").read_text())
    assert report["model"] == "oval" and report["images"] == 2
    with open(out / "errors.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == [each.name for each in results]
    table = (out / "errors.tex").read_text()
    lines = [line for line in table.splitlines() if line.startswith(r"an\_oval, ")]
    assert r"\begin{tabular}{lrrrrrrr}" in table and len(lines) == 2
    for line, entries, before in zip(lines, (report, report["unknown"]), ("", "unknown_")):
        for number, (name, (_, unit)) in enumerate(PRINTED[MATTES].items(), start=1):
            column = [float(row[before + name]) for row in rows]
            assert column == [entries["errors"][row["image"]][name] for row in rows]
            mean, spread = statistics.mean(column), statistics.stdev(column)
            assert entries["mean"][name] == pytest.approx(mean)
            assert entries["standard_error"][name] == pytest.approx(spread / len(column) ** 0.5)
            half = stats.t.interval(0.95, 1, scale=spread / 2**0.5)[1]
            assert entries["half_width"][name] == pytest.approx(half)
            cell = line.removesuffix(r" \\").split(" & ")[number].strip("$")
            shown = [float(part) for part in cell.split(r" \pm ")]
            assert shown == pytest.approx([mean / unit, half / unit], abs=0.005001)
    assert {path.name for path in out.iterdir()} == {"errors.csv", "errors.json", "errors.tex"}


def test_intervals_are_those_of_the_means_of_people(small_dataset, tmp_path):
    """Three people with two photos each: as if each were measured once."""
    photo = results_of(small_dataset)[0]
    values = [(0, 1.0), (0, 2.0), (1, 5.0), (1, 6.0), (2, 3.0), (2, 5.0)]
    results = [
        dataclasses.replace(
            photo,
            name=f"p{number}",
            person=person,
            values={ALL: {**photo.values[ALL], "sad": sad}},
        )
        for number, (person, sad) in enumerate(values)
    ]
    found = error_report.Summary.of(results, ALL)
    assert (found.images, found.people) == (6, 3)
    by_person = [1.5, 5.5, 4.0]
    low, high = stats.t.interval(0.95, 2, statistics.mean(by_person), stats.sem(by_person))
    assert found.mean["sad"] - found.half_width["sad"] == pytest.approx(low)
    assert found.mean["sad"] + found.half_width["sad"] == pytest.approx(high)
    assert error_report.Summary.of(results, UNKNOWN_REGION) is None


def test_people_are_those_of_the_dataset_and_each_image_is_one_where_nobody_is_named(small_dataset):
    assert [each.person for each in results_of(small_dataset)] == [
        each.name for each in results_of(small_dataset)
    ]
    name_people(small_dataset, {each.stem: 7 for each in Dataset.open(small_dataset).test})
    results = results_of(small_dataset)
    assert [each.person for each in results] == [7, 7]
    found = error_report.Summary.of(results, ALL)
    assert found.people == 1 and found.half_width["sad"] is None
    assert found.standard_error["sad"] > 0


def test_one_image_has_no_standard_error(small_dataset, tmp_path):
    results = results_of(small_dataset)[:1]
    error_report.write_error_report(tmp_path / "out", results, MATTES, "one", {})
    report = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert report["mean"]["sad"] == results[0].values[ALL]["sad"]
    assert report["standard_error"]["sad"] is None and report["half_width"]["sad"] is None
    assert r"\pm" not in (tmp_path / "out" / "errors.tex").read_text()


def test_printed_units_are_those_of_table_1():
    values = dict.fromkeys(PRINTED[MATTES], 0.0)
    values |= {"dapm_gradient": 3.03e-3, "dapm_connectivity": 6.90e-4, "sad": 12.3}
    assert error_report.line("ours", MATTES, values).split() == [
        "ours",
        "3.03",
        "6.90",
        "0.00",
        "0.00",
        "12.30",
        "0.00",
        "0.00",
    ]


def test_list_may_name_any_portrait_of_the_dataset(small_dataset, tmp_path):
    dataset = Dataset.open(small_dataset)
    assert portrait_errors.listed_portraits(dataset, None) == dataset.test
    assert portrait_errors.listed_portraits(dataset, Path("train.txt")) == dataset.train
    mine = tmp_path / "mine.txt"
    mine.write_text(f"{dataset.train[1].stem}\n\n{dataset.test[0].stem}\n")
    assert portrait_errors.listed_portraits(dataset, mine) == [dataset.train[1], dataset.test[0]]
    held_out = dataset.train[1].stem
    (small_dataset / "train.txt").write_text(f"{dataset.train[0].stem}\n")
    (small_dataset / "validation.txt").write_text(f"{held_out}\n")
    dataset = Dataset.open(small_dataset)
    assert portrait_errors.listed_portraits(dataset, Path("validation.txt")) == dataset.validation


def test_bad_lists_and_mattes_are_one_sentence(small_dataset, tmp_path):
    dataset = Dataset.open(small_dataset)
    with pytest.raises(InputError, match="absent.txt does not exist"):
        portrait_errors.listed_portraits(dataset, Path("absent.txt"))
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match="empty.txt: the list is empty"):
        portrait_errors.listed_portraits(dataset, tmp_path / "empty.txt")
    (tmp_path / "other.txt").write_text(f"{dataset.test[0].stem}\nnobody\n")
    with pytest.raises(InputError, match="other.txt: line 2, 'nobody', is not the name of"):
        portrait_errors.listed_portraits(dataset, tmp_path / "other.txt")
    (tmp_path / "twice.txt").write_text(f"{dataset.test[0].stem}\n{dataset.test[0].photo.name}\n")
    with pytest.raises(InputError, match="twice.txt: line 2 names .* already in twice.txt, line 1"):
        portrait_errors.listed_portraits(dataset, tmp_path / "twice.txt")
    (truth,) = truths_of_portraits(small_dataset, dataset.test[:1])
    cv2.imwrite(str(truth.pair.matte), np.eye(133, 100, dtype=np.uint8) * 255)
    with pytest.raises(InputError, match="no fractional pixel"):
        Task(Ovals(), MATTES, UNKNOWN_REGION).measure(truth)
    cv2.imwrite(str(truth.pair.matte), np.zeros((133, 99), np.uint8))
    with pytest.raises(InputError, match="has another size than"):
        Task(Ovals(), MATTES).measure(truth)
    cv2.imwrite(str(truth.pair.matte), np.eye(133, 100, dtype=np.uint8))
    with pytest.raises(InputError, match="largest value is 1 of 255"):
        Task(Ovals(), MATTES).measure(truth)


def test_a_truth_that_the_face_shows_to_be_inverted_is_refused(small_dataset):
    truth = truths_of(small_dataset)[0]
    (face,) = FaceDetector().find(read_photo(SAMPLE / "images" / f"{truth.name}.jpg")).faces
    face = face.mapped(np.full(2, 1 / 6))
    wide = np.zeros((133, 100), np.uint8)  # not to be told by the middle and the rim alone
    wide[40:, :12] = wide[90:] = 255
    cv2.circle(wide, np.rint(face.points[2]).astype(int).tolist(), 30, 255, -1)
    cv2.imwrite(str(truth.pair.matte), 255 - wide)
    with pytest.raises(InputError, match="seems to be inverted: the face is background"):
        Task(Ovals(faces=(face,)), MATTES).measure(truth)
    elsewhere = dataclasses.replace(truth, is_portrait=False)  # a face may be a bystander's
    assert Task(Ovals(faces=(face,)), MATTES).measure(elsewhere)[0].face_found


def test_sources_are_told_apart_and_are_the_same_in_another_process(
    weights, small_dataset, tmp_path
):
    truth = truths_of(small_dataset)[0]
    photo, true_alpha = truth.read_photo(), truth.read_truth()
    net_that_sees(np.rint(255 * Ovals().matte(truth, photo).alpha), tmp_path / "net.onnx")
    settings = SegmenterSettings.read(tmp_path / "net.onnx")
    shaken = tmp_path / "other.caffemodel"
    shaken.write_bytes(weights.read_bytes() + b"\0")
    sources = [
        SegmenterMattes(0.0, settings),
        SegmenterMattes(0.0, dataclasses.replace(settings, min_max=True)),
        ModelMattes(0.0, "selfie", weights=weights),
        ModelMattes(0.0, "selfie", weights=shaken),
        ModelMattes(3e-4, "selfie", weights=weights),
        ModelMattes(0.0, "ensemble"),
        GivenMattes(tmp_path, {}),
    ]
    assert len({source.key for source in sources}) == len(sources)
    for source, model in (
        (sources[0], Segmenter(settings)),
        (sources[2], Predictor("selfie", weights=weights)),
    ):
        source.load()
        sent = pickle.loads(pickle.dumps(source))
        assert sent.key == source.key
        wanted = evaluate(MattingSession(model).matte(photo).alpha, true_alpha)
        found = Task(sent, MATTES).measure(truth)[0].values[ALL]
        assert found == {**found, **dataclasses.asdict(wanted)}


# --- what is kept -----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class CountedOvals(Ovals):
    """Ovals that note whose they are."""

    calls: list[str] = dataclasses.field(default_factory=list)

    def matte(self, truth: PhotoTruth, photo: np.ndarray) -> Matte:
        self.calls.append(truth.name)
        return super().matte(truth, photo)


def measured(folder: Path, out: Path, **source: object) -> list[str]:
    """Measure a dataset's test list to its end; returns whose mattes were made."""
    ovals = CountedOvals(**source)
    measurement = Measurement(Task(ovals, MATTES), truths_of(folder), Journal(out))
    found = [errors for errors, _ in measurement.results(workers=1)]
    assert found == results_of(folder)
    assert measurement.known + len(ovals.calls) == len(found)
    return ovals.calls


def test_a_run_that_was_killed_goes_on_with_the_next_image(small_dataset, tmp_path):
    first, second = (truth.name for truth in truths_of(small_dataset))
    killed = Measurement(Task(Ovals(), MATTES), truths_of(small_dataset), Journal(tmp_path))
    results = killed.results(workers=1)
    next(results)
    results.close()
    (journal,) = tmp_path.glob("*.jsonl")
    with open(journal, "a") as stream:
        stream.write('{"key": "half a li')
    assert measured(small_dataset, tmp_path) == [second]
    assert measured(small_dataset, tmp_path) == []
    unknown = Task(Ovals(), MATTES, UNKNOWN_REGION)
    assert Measurement(unknown, truths_of(small_dataset), Journal(tmp_path)).known == 0
    assert measured(small_dataset, tmp_path, key="other weights") == [first, second]
    photo = small_dataset / "images" / f"{first}.png"
    cv2.imwrite(str(photo), 255 - cv2.imread(str(photo)))
    assert measured(small_dataset, tmp_path) == [first]
    name_people(small_dataset, {second: 3})
    assert measured(small_dataset, tmp_path) == [second]


def test_what_ends_is_forgotten_and_what_other_runs_left_is_not(small_dataset, tmp_path):
    measured(small_dataset, tmp_path, key="other weights")
    measured(small_dataset, tmp_path)

    def end(**source: object) -> None:
        truths = truths_of(small_dataset)
        Measurement(Task(Ovals(**source), MATTES), truths, Journal(tmp_path)).end()

    end()
    assert len(measured(small_dataset, tmp_path)) == 2
    assert measured(small_dataset, tmp_path, key="other weights") == []
    end()
    end(key="other weights")
    assert not list(tmp_path.glob("*.jsonl"))


# --- the program -----------------------------------------------------------------


def test_mattes_of_another_program_have_the_figures_of_the_same_mattes_predicted(
    small_dataset, tmp_path
):
    results = results_of(small_dataset)
    for number, truth in enumerate(truths_of(small_dataset)):
        alpha = np.rint(255 * Ovals().matte(truth, truth.read_photo()).alpha)
        folder = tmp_path / "theirs"
        folder.mkdir(exist_ok=True)
        deep = np.uint16(257 * alpha)
        cutout = np.dstack([np.full((*alpha.shape, 3), 9, np.uint16), deep])
        cv2.imwrite(str(folder / f"{truth.name}.png"), (deep, cutout)[number])
    out = tmp_path / "out"
    arguments = ["--dataset", small_dataset, "--mattes", tmp_path / "theirs", "--out", out]
    assert test_net.main(list(map(str, arguments))) == 0
    report = json.loads((out / "errors.json").read_text())
    assert report["mattes"] == str(tmp_path / "theirs")
    for each in results:
        assert report["errors"][each.name] == each.values[ALL]
        assert report["unknown"]["errors"][each.name] == each.values[UNKNOWN_REGION]
    assert (out / "contact_sheet.png").is_file() and not list(out.glob("*.jsonl"))
    assert test_net.main([*map(str, arguments), "--every", "2"]) == 0
    report = json.loads((out / "errors.json").read_text())
    assert list(report["errors"]) == [results[0].name]
    # The errors of all images are not lost with that, but those of the same run are replaced.
    whole = json.loads((out / "errors.stale-1.json").read_text())
    assert len(whole["errors"]) == len(results) and (out / "errors.stale-1.csv").is_file()
    assert test_net.main([*map(str, arguments), "--every", "2"]) == 0
    assert len(list(out.glob("errors*.json"))) == 2


def test_the_program_runs_from_any_folder(tmp_path):
    """The true mattes of the open test split, measured as somebody's."""
    mattes = ROOT / "data/benchmark/mattes"
    run = subprocess.run(
        program("--mattes", mattes, "--every", "300"), capture_output=True, text=True, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    (written,) = (tmp_path / "out").glob("*/errors.json")
    report = json.loads(written.read_text())
    assert (report["dataset"], report["list"]) == ("data/benchmark", "data/benchmark/test.txt")
    assert report["mean"]["sad"] == 0


def test_mattes_that_are_missing_are_named_in_one_sentence(small_dataset, tmp_path):
    (tmp_path / "theirs").mkdir()
    arguments = ["--dataset", str(small_dataset), "--mattes", str(tmp_path / "theirs")]
    with pytest.raises(InputError) as caught:
        test_net.main(arguments)
    (sentence,) = str(caught.value).splitlines()
    assert all(truth.name in sentence for truth in truths_of(small_dataset))


def test_program_on_the_real_segmenter(weights, half_size, tmp_path):
    stems = (half_size / "test.txt").read_text().split()[:2]
    chosen = tmp_path / "two.txt"
    chosen.write_text("\n".join(stems))
    out = tmp_path / "out"
    options = ("--model", "selfie", "--weights", weights, "--dataset", half_size, "--list", chosen)
    command = program(*options, "--out", out)
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    printed = [line.split()[0] for line in run.stdout.splitlines()]
    assert [word for word in printed if word in stems] == stems
    report = json.loads((out / "errors.json").read_text())
    assert report["weights_sha256"] == sha256_of(weights)
    assert report["mean"]["sad"] < 0.25 * report["reference"]["mean"]["sad"]
    sheet = cv2.imread(str(out / "contact_sheet.png"))
    assert sheet.shape[0] > 2 * contact_sheet.TILE_HEIGHT
    # Two processes have found what one finds.
    assert test_net.main([*map(str, options), "--out", str(out), "--workers", "1"]) == 0
    assert json.loads((out / "errors.json").read_text())["errors"] == report["errors"]


def test_interrupt_keeps_what_was_computed_and_the_next_run_goes_on(weights, half_size, tmp_path):
    out = tmp_path / "out"
    command = program(
        "--model", "selfie", "--weights", weights, "--dataset", half_size, "--out", out
    )
    run = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # A suite started in the background may have handed SIG_IGN down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    stems = (half_size / "test.txt").read_text().split()
    first = stems[0]
    while not (line := run.stdout.readline()).startswith(first):
        assert line, run.stderr.read()
    run.send_signal(signal.SIGINT)
    rest, errors = run.communicate()
    assert run.returncode == 130 and "Traceback" not in errors
    with open(out / "errors.csv", newline="") as stream:
        images = [row["image"] for row in csv.DictReader(stream)]
    assert images[0] == first and 1 <= len(images) < len(stems)
    assert f"{len(images)} of {len(stems)} images tested" in rest
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert f"{len(images)} of {len(stems)} images were measured before" in run.stdout
    with open(out / "errors.csv", newline="") as stream:
        assert [row["image"] for row in csv.DictReader(stream)] == stems
    assert not list(out.glob("*.jsonl"))


def test_failure_in_the_middle_keeps_what_was_computed(weights, small_dataset, tmp_path):
    first, second = Dataset.open(small_dataset).test
    matte = cv2.imread(str(second.matte), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(second.matte), np.where(matte > 127, 255, 0).astype(np.uint8))
    out = tmp_path / "out"
    options = ("--model", "selfie", "--weights", weights, "--dataset", small_dataset)
    command = program(*options, "--region", "unknown", "--out", out)
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert f"{second.matte.name} has no fractional pixel" in run.stderr.splitlines()[-1]
    report = json.loads((out / "errors.json").read_text())
    assert list(report["errors"]) == [first.stem] and report["listed_images"] == 2
    assert report["list"] == str(small_dataset / "test.txt")


def test_all_bad_files_are_named_before_anything_is_computed(weights, small_dataset, tmp_path):
    first, second = Dataset.open(small_dataset).test
    second.photo.write_bytes(second.photo.read_bytes()[:200])
    cv2.imwrite(str(first.matte), np.zeros((133, 100), np.uint8))
    out = tmp_path / "out"
    options = ("--model", "selfie", "--weights", weights, "--dataset", small_dataset)
    command = program(*options, "--out", out)
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert f"{first.matte}: it has no foreground: its largest value is 0" in run.stderr
    assert f"{second.photo}: it is not a readable image" in run.stderr
    assert not out.exists()


def test_drawn_split_is_recorded_as_such(weights, small_dataset, tmp_path):
    for name in ("train", "test"):
        (small_dataset / f"{name}.txt").unlink()
    out = tmp_path / "out"
    arguments = [
        "--model",
        "selfie",
        "--weights",
        weights,
        "--dataset",
        small_dataset,
        "--out",
        out,
    ]
    assert test_net.main(list(map(str, arguments))) == 0
    report = json.loads((out / "errors.json").read_text())
    assert report["list"] == f"drawn from {small_dataset} with seed 0"


def test_training_net_is_refused_with_the_name_of_the_right_one(small_dataset):
    for name in ("train_val", "trimap_train_val"):
        with pytest.raises(InputError, match="for training.* give its .*portrait/trimap_deploy"):
            test_net.main(
                [
                    "--dataset",
                    str(small_dataset),
                    "--deploy",
                    str(ROOT / f"prototxt/portrait/{name}.prototxt"),
                ]
            )


def test_missing_dataset_and_weights(tmp_path):
    for arguments in (["--dataset", tmp_path / "none"], ["--weights", tmp_path / "none"]):
        run = subprocess.run(program(*arguments), capture_output=True, text=True, cwd=ROOT)
        assert run.returncode == 1 and "Traceback" not in run.stderr
        assert f"{tmp_path / 'none'}" in run.stderr.splitlines()[-1]


def test_trimap_shows_the_most_probable_channel():
    probabilities = np.array([[[0.5, 0.1, 0.2]], [[0.3, 0.8, 0.2]], [[0.2, 0.1, 0.6]]])
    assert sheets.render_trimap(probabilities).tolist() == [[255, 0, 128]]


def test_sheet_shows_the_pictures_side_by_side(tmp_path):
    """Flat tiles: the sheet holds their colors in their columns, left to right."""
    photo = np.zeros((300, 200, 3), np.uint8)
    photo[:] = (10, 20, 200)  # BGR: mostly red
    probabilities = np.zeros((3, 300, 200))
    probabilities[2] = 1
    matte, truth = np.full((300, 200), 0.8), np.full((300, 200), 0.2)
    row = contact_sheet.sheet_row("flat", 1.0, photo, probabilities, matte, truth)
    contact_sheet.write_contact_sheet(tmp_path / "sheet.png", [row, row], "title")
    sheet = cv2.imread(str(tmp_path / "sheet.png")).astype(int)
    height, width = sheet.shape[:2]
    assert height > 600 and 1000 < width < 1100
    middles = [sheet[height // 4, (2 * k + 1) * width // 10] for k in range(5)]
    expected = [(10, 20, 200), (128,) * 3, (204,) * 3, (51,) * 3]
    np.testing.assert_allclose(middles[:4], expected, atol=3)
    # An error of 0.6 is above the scale: inferno's brightest color, a pale yellow.
    assert middles[4][1] > 240 and middles[4][2] > 240 and middles[4][0] < 180


def test_error_of_fine_hair_is_not_averaged_away():
    """Stripes one pixel wide, shifted by one: the shrunk mattes are equal."""
    truth = np.tile([0.0, 1.0], (1200, 400))
    row = contact_sheet.sheet_row(
        "stripes",
        0.0,
        np.zeros((1200, 800, 3), np.uint8),
        np.zeros((3, 1200, 800)),
        1 - truth,
        truth,
    )
    np.testing.assert_allclose(row.matte, row.truth, atol=1e-6)
    np.testing.assert_allclose(row.error, 1.0, atol=1e-6)


def test_long_lists_show_best_to_worst():
    tile = np.zeros((4, 4))
    rows = [
        contact_sheet.SheetRow(str(k), float(k), tile, tile, tile, tile, tile)
        for k in np.random.default_rng(0).permutation(101)
    ]
    chosen = contact_sheet.representative(rows, 5)
    assert [row.badness for row in chosen] == [0, 25, 50, 75, 100]
    assert len(contact_sheet.representative(rows[:3], 5)) == 3
