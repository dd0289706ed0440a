"""Whether anybody is in a photo that shows no face.

Segmenters find a shape of a person's size in much that is round and in the middle: a
cup, a logo, a retina.  What distinguishes people is that every view of them agrees.
"""

from __future__ import annotations

import numpy as np

# Among the 24 pictures of scikit-image without people, upright, the next below have 7.84 (a
# logo), 6.96 (a cat) and 6.42 (a cell); above are a retina, 8.47, and coins, 8.61, in which
# the portrait net finds nobody.  Among 15 photos of people without a face that dlib finds, 11
# have 12, the most there is, the others 11.94, 11.1 (a street), 9.41 and 9.10 (two frames
# with two small gray people).  Nearer to the things than to the people: a lost person is
# worse than a cut-out cup.  A round apple has 12 and is a person.  Measured on 2026-11-28.
CERTAIN_PERSON = 8.2


def person_certainty(logit: np.ndarray) -> float:
    """How certain a segmenter is of the people that it sees.

    Parameters
    ----------
    logit : ndarray of shape (H, W)
        Mean over several views of the whole photo, each clipped at a value that certain
        pixels reach (`tools.matting.predictor.clipped_scores`); positive where a person is.

    Returns
    -------
    float
        Median of the positive values, 0 where there are none.
    """
    people = logit[logit > 0]
    return float(np.median(people)) if people.size else 0.0


def mean_certainty(logit: np.ndarray) -> float:
    """Mean where `person_certainty` takes the median; depends on how much of a person is sure."""
    people = logit[logit > 0]
    return float(people.mean()) if people.size else 0.0
