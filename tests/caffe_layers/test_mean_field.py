"""Mean-field inference: against Krähenbühl's code, its gradients, and its limits."""

import numpy as np
import pydensecrf2_reference as reference
import pytest

from caffe_layers.mean_field import (
    CrfSettings,
    CrfWeights,
    compatibility_matrix,
    dense_crf,
    image_kernels,
    initial_weights,
    mean_field,
    mean_field_gradients,
    softmax,
)


def marginals(scores):
    """Softmax over the last axis."""
    return np.moveaxis(softmax(np.moveaxis(scores, 2, 0)), 0, 2)


def settings(**changes):
    start = dict(
        theta_alpha=reference.THETA_ALPHA,
        theta_beta=reference.THETA_BETA,
        theta_gamma=reference.THETA_GAMMA,
        bilateral_weight=reference.BILATERAL_WEIGHT,
        spatial_weight=reference.SPATIAL_WEIGHT,
    )
    return CrfSettings(**(start | changes))


@pytest.mark.parametrize("name, penalty", [("potts", 1.0), ("lenient", 0.3)])
def test_it_infers_what_krahenbuhls_code_infers(name, penalty):
    logs, image = reference.picture()
    found = dense_crf(logs, image, settings(unknown_penalty=penalty), reference.ITERATIONS)
    expected = np.load(reference.FILE)[name]
    assert np.abs(marginals(found) - expected).max() <= 1e-5
    assert np.abs(marginals(logs) - expected).max() > 0.1  # it did something


def test_what_is_stored_of_krahenbuhls_code_is_what_it_says():
    pytest.importorskip("pydensecrf")  # where somebody has built it
    assert np.abs(reference.infer(-np.eye(3)) - np.load(reference.FILE)["potts"]).max() <= 1e-6


def random_case(classes, seed, shape=(7, 6)):
    """Scores, kernels and weights without any symmetry, in double precision."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 255, (*shape, 3))
    kernels = image_kernels(image, CrfSettings(theta_alpha=3.1, theta_beta=90, theta_gamma=1.7))
    weights = CrfWeights(*rng.normal(0, 1.5, (3, classes, classes)))
    return rng.normal(0, 1, (classes, shape[0] * shape[1])), kernels, weights


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_gradients_are_finite_differences(classes, iterations):
    scores, kernels, weights = random_case(classes, seed=iterations)
    rng = np.random.default_rng(20)
    d_result = rng.normal(size=scores.shape)
    _, steps = mean_field(scores, kernels, weights, iterations)
    gradients = mean_field_gradients(steps, kernels, weights, d_result)
    arrays = [scores, weights.spatial, weights.bilateral, weights.compatibility]
    found = [
        gradients.scores,
        gradients.weights.spatial,
        gradients.weights.bilateral,
        gradients.weights.compatibility,
    ]
    for changed, gradient in zip(arrays, found):
        expected = np.empty_like(gradient)
        for index in np.ndindex(*changed.shape):
            losses = []
            for step in (1e-5, -1e-5):
                start = changed[index]
                changed[index] = start + step
                result, _ = mean_field(scores, kernels, weights, iterations)
                changed[index] = start
                losses.append(np.sum(result * d_result))
            expected[index] = (losses[0] - losses[1]) / 2e-5
        assert np.abs(gradient - expected).max() <= 1e-7 * np.abs(expected).max()


def test_without_weights_the_scores_stay():
    scores, kernels, weights = random_case(3, seed=0)
    nothing = CrfWeights(np.zeros((3, 3)), np.zeros((3, 3)), weights.compatibility)
    result, steps = mean_field(scores, kernels, nothing, 5)
    assert np.array_equal(result, scores)
    # No message passes, so the loss depends on the scores directly alone.
    d_result = np.random.default_rng(1).normal(size=scores.shape)
    gradients = mean_field_gradients(steps, kernels, nothing, d_result)
    assert np.array_equal(gradients.scores, d_result)


def test_a_smooth_image_takes_noise_out_of_the_scores_and_edges_stay():
    image = np.zeros((30, 40, 3))
    image[:, 20:] = 200
    truth = np.where(np.arange(40) < 20, 0, 1) * np.ones((30, 1), int)
    rng = np.random.default_rng(5)
    scores = 0.5 * np.eye(3)[truth] + rng.normal(0, 0.5, (30, 40, 3))
    wrong = np.mean(scores.argmax(axis=2) != truth)
    cleaned = dense_crf(scores, image, settings(theta_beta=10.0))
    assert wrong > 0.3
    assert np.mean(cleaned.argmax(axis=2) != truth) < 0.01


def test_a_lenient_penalty_leaves_a_thin_unknown_band():
    truth = np.zeros((30, 40), int)
    truth[:, 20:] = 1
    truth[:, 19:21] = 2
    scores = 1.2 * np.eye(3)[truth]
    image = np.full((30, 40, 3), 128.0)
    shares = {
        penalty: np.mean(dense_crf(scores, image, settings(unknown_penalty=penalty)).argmax(2) == 2)
        for penalty in (0.0, 1.0)
    }
    assert shares[1.0] == 0
    assert shares[0.0] >= 2 / 40


def test_log_probabilities_and_scores_give_the_same_marginals():
    logs, image = reference.picture()
    scores = logs.astype(np.float64) + np.random.default_rng(6).normal(0, 9, (24, 18, 1))
    for each in (logs, scores):
        found = marginals(dense_crf(each, image, settings()))
        np.testing.assert_allclose(found, marginals(dense_crf(logs, image, settings())), atol=1e-5)


def test_the_potts_model_is_a_unit_penalty():
    assert np.array_equal(compatibility_matrix(3), -np.eye(3))
    assert np.array_equal(compatibility_matrix(2, 0.1), -np.eye(2))


def test_the_initial_weights_are_those_of_the_settings():
    weights = initial_weights(CrfSettings(), 3)
    assert np.array_equal(weights.spatial, 3 * np.eye(3))
    assert np.array_equal(weights.bilateral, 5 * np.eye(3))


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match="differ in size"):
        dense_crf(np.zeros((4, 5, 3)), np.zeros((5, 4, 3)), CrfSettings())
