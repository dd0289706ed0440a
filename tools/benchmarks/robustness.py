"""Photos that are not upright, and photos without people.

    .venv/bin/python -m tools.benchmarks.robustness turned  # test portraits of a dataset, turned
    .venv/bin/python -m tools.benchmarks.robustness presence  # found by mistake, missed

`turned` mattes portraits turned by 90, 180 and 270 degrees and compares the errors with
those of the upright ones.  `presence` looks for people in pictures that show none (default:
the pictures that come with scikit-image) and in photos of people (default: data/sample);
where no face is found, the certainty that decides is printed too.

Exit status 1 if a limit below is passed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import skimage
from tqdm import tqdm

from data_prep.common.errors import run_program
from data_prep.common.options import count, named_path
from data_prep.common.pictures import read_picture
from data_prep.datasets.dataset import Dataset
from tools.evaluation.metrics import evaluate
from tools.evaluation.portraits import ground_truths
from tools.matting.models import DEFAULT_MODEL, MODELS, ROOT
from tools.matting.orientation import turned
from tools.matting.session import MattingSession
from tools.matting.trimap import TrimapEstimate
from tools.outputs.photos import photos_at

SAMPLE = ROOT / "data/sample"
SCIKIT_IMAGE = Path(skimage.__file__).parent / "data"
#: Pictures of scikit-image that show a person; the other 24 show none.
WITH_PERSON = ("astronaut", "camera")

LARGEST_RATIO = 1.3  # of the mean SAD of turned portraits to that of upright ones
MOST_FALSE = 2  # pictures without people that may be taken for one


def sads_by_turn(
    session: MattingSession, portraits: Iterable[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Errors of portraits that are turned by 0 to 3 quarters.

    Parameters
    ----------
    session : MattingSession
    portraits : iterable of (photo, truth)
        (H, W, 3) uint8 and (H, W) float ndarray in [0, 1].

    Returns
    -------
    (N, 4) float64 ndarray
        SAD (`tools.evaluation.metrics.MatteErrors`).
    """
    return np.array(
        [
            [
                evaluate(session.matte(turned(photo, turns)).alpha, turned(truth, turns)).sad
                for turns in range(4)
            ]
            for photo, truth in portraits
        ]
    )


def pictures_without_people() -> list[Path]:
    """The pictures of scikit-image that show no person."""
    files = sorted(SCIKIT_IMAGE.glob("*.png")) + sorted(SCIKIT_IMAGE.glob("*.jpg"))
    return [path for path in files if path.stem not in WITH_PERSON]


def described(path: Path, estimate: TrimapEstimate) -> str:
    """A line that says what the model finds in a photo."""
    found = "person" if estimate.person_found else "nobody"
    certainty = "" if estimate.certainty is None else f", certainty {estimate.certainty:.2f}"
    return f"{found:8}{path.name}: faces {len(estimate.faces)}{certainty}"


def found_among(session: MattingSession, photos: Sequence[Path]) -> int:
    """Look for people in photos and print a line for each; return how many show a person."""
    count = 0
    for path in photos:
        estimate = session.estimate_trimap(read_picture(path).bgr)
        print(described(path, estimate))
        count += estimate.person_found
    return count


def measure_turned(session: MattingSession, dataset: Path, count: int) -> int:
    """Print the errors of turned portraits and return the exit status."""
    portraits = Dataset.open(dataset).test[:count]
    pairs = (
        (truth.photo, truth.alpha) for truth in ground_truths(tqdm(portraits, unit="portrait"))
    )
    sads = sads_by_turn(session, pairs)
    print(f"{'SAD':12}{'0':>8}{'90':>8}{'180':>8}{'270':>8} degrees")
    for portrait, row in zip(portraits, sads):
        print(f"{portrait.stem:12}" + "".join(f"{value:8.2f}" for value in row))
    means = sads.mean(axis=0)
    print(f"{'mean':12}" + "".join(f"{value:8.2f}" for value in means))
    ratio = means[1:].mean() / means[0]
    print(f"turned / upright: {ratio:.3f} (at most {LARGEST_RATIO})")
    return int(ratio > LARGEST_RATIO)


def measure_presence(
    session: MattingSession, without: Sequence[Path], people: Sequence[Path]
) -> int:
    """Print which pictures are taken for a person and return the exit status."""
    false = found_among(session, without)
    missed = len(people) - found_among(session, people)
    print(
        f"{false} of {len(without)} pictures without people are taken for a person "
        f"(at most {MOST_FALSE}); {missed} of {len(people)} photos of people are "
        "taken for nobody (none may be)."
    )
    return int(false > MOST_FALSE or missed > 0)


def main(argv: list[str] | None = None) -> int:
    """Measure one of the two."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default=DEFAULT_MODEL)
    commands = parser.add_subparsers(dest="command", required=True)
    turns = commands.add_parser("turned", help="test portraits of a dataset, turned")
    turns.add_argument("--dataset", type=named_path, default=SAMPLE)
    turns.add_argument("--count", type=count, default=8, help="portraits of its test list")
    presence = commands.add_parser("presence", help="pictures without and with people")
    presence.add_argument(
        "--without",
        nargs="+",
        type=named_path,
        metavar="FOLDER",
        help="pictures without people (default: those of scikit-image)",
    )
    presence.add_argument(
        "--people", nargs="+", type=named_path, metavar="FOLDER", default=[SAMPLE / "images"]
    )
    options = parser.parse_args(argv)
    session = MattingSession(options.model)
    if options.command == "turned":
        return measure_turned(session, options.dataset, options.count)
    without = photos_at(options.without) if options.without else pictures_without_people()
    return measure_presence(session, without, photos_at(options.people))


if __name__ == "__main__":
    raise SystemExit(run_program(main))
