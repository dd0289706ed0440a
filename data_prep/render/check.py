"""Measure a rendered set: faces, landmarks, mattes, variety.  Needs dlib, not Blender.

    .venv/bin/python -m data_prep.render.check FOLDER

Prints what share of the photos dlib finds a face in, how far its landmarks are
from the mesh's, what share of the pixels is fractional, and how many photos
share all of hair style, outfit, light and background.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep.caffe_data.alpha_distribution import count_alphas, fractional_share
from data_prep.common.errors import InputError, run_program
from data_prep.common.images import read_matte, read_photo
from data_prep.common.landmarks import detect_landmarks
from data_prep.common.options import count, named_path
from data_prep.common.parallel import available_workers, map_in_order
from data_prep.datasets.dataset import Dataset, Portrait
from data_prep.render.people.landmarks import interocular_distance
from data_prep.render.shot.photo import read_meta

# A face farther off than this is not the subject's: a bystander's, or none.
SAME_FACE = 0.5  # of the inter-ocular distance


@dataclass(frozen=True)
class Measured:
    """What is measured of one photo.

    Attributes
    ----------
    stem : str
    errors : (68,) ndarray or None
        Distances of dlib's landmarks from the mesh's, in inter-ocular
        distances; None where dlib finds no face, or not the subject's.
    fractional : float
        Share of the pixels that are neither all foreground nor all background.
    kinds : tuple of str
        Hair style, outfit, light, background.
    """

    stem: str
    errors: np.ndarray | None
    fractional: float
    kinds: tuple[str, ...]


def landmark_errors(found: np.ndarray | None, known: np.ndarray) -> np.ndarray | None:
    """Distances of landmarks (68, 2) in inter-ocular distances of `known`, (68,).

    None where nothing was found, or another face.
    """
    if found is None:
        return None
    errors = np.linalg.norm(found - known, axis=1) / interocular_distance(known)
    return None if np.median(errors) > SAME_FACE else errors


def kinds_of(choice: dict) -> tuple[str, ...]:
    """`portrait.PortraitChoice.kinds` of a choice as its JSON."""
    background = choice["background"]
    return (
        choice["hair"]["style"],
        choice["clothing"]["outfit"],
        choice["light"]["kind"],
        f"{background['kind']} {background['detail']}".strip(),
    )


def measure(task: tuple[Path, Portrait]) -> Measured:
    """Measure one photo of the set in a folder."""
    folder, portrait = task
    meta = read_meta(folder, portrait.stem)
    found = detect_landmarks(read_photo(portrait.photo))
    matte = read_matte(portrait.matte)
    return Measured(
        stem=portrait.stem,
        errors=landmark_errors(found, np.array(meta["landmarks"])),
        fractional=fractional_share(count_alphas(matte) / matte.size),
        kinds=kinds_of(meta["choice"]),
    )


def report(measured: Sequence[Measured]) -> str:
    """The figures in words."""
    found = [each for each in measured if each.errors is not None]
    fractional = np.array([each.fractional for each in measured])
    shared = Counter(each.kinds for each in measured)
    alike = sum(count for count in shared.values() if count > 1)
    lines = [
        f"{len(found)} of {len(measured)} faces found by dlib "
        f"({100 * len(found) / len(measured):.0f} %)."
    ]
    if found:
        errors = np.array([each.errors for each in found])
        median = 100 * np.median(errors)
        worst = int(np.median(errors, axis=0).argmax())
        lines.append(
            f"Landmarks: median {median:.1f} % of the inter-ocular distance from the mesh's "
            f"(of the photos' medians {100 * np.percentile(np.median(errors, axis=1), 90):.1f} % "
            f"at the 90th percentile; worst landmark {worst}: "
            f"{100 * np.median(errors[:, worst]):.1f} %)."
        )
    lines.append(
        f"Fractional pixels: mean {100 * fractional.mean():.1f} %, "
        f"{100 * fractional.min():.1f} to {100 * fractional.max():.1f} %."
    )
    lines.append(f"{alike} photos share hair style, outfit, light and background with another.")
    missing = [each.stem for each in measured if each.errors is None]
    if missing:
        lines.append(f"Without a face: {', '.join(missing)}.")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure a rendered set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=named_path, help="written by `make portraits`")
    parser.add_argument("--workers", type=count, default=available_workers())
    options = parser.parse_args(argv)
    portraits = Dataset.open(options.folder).portraits
    if not (options.folder / "meta").is_dir():
        raise InputError(f"{options.folder} has no meta/; it is no rendered set.")
    tasks = [(options.folder, portrait) for portrait in portraits]
    measured = list(tqdm(map_in_order(measure, tasks, options.workers), "check", len(tasks)))
    print(report(measured))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
