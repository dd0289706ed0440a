"""The benchmark program: systems, timing bookkeeping, and its document in step with its results."""

import json

import numpy as np
import pytest

from data_prep.common.errors import InputError
from tools.benchmarks import mattes as bench_matte
from tools.benchmarks import nets as bench_nets
from tools.benchmarks import solvers as bench
from tools.evaluation.report import BENCHMARK, replace_section


@pytest.mark.parametrize(
    "share, kind", [(0.05, "trimap"), (0.3, "trimap"), (0.3, "soft"), (1.0, "trimap")]
)
def test_systems_have_the_share_of_unknown_pixels_they_are_named_after(share, kind):
    case = bench.make_case((200, 150), share, kind)
    known = case.system.data / bench.LAMBDA
    assert np.mean(known < 0.5) == pytest.approx(share, abs=0.01)
    assert np.all(case.rhs[0] <= case.system.data)


def test_all_methods_solve_the_same_system():
    case = bench.make_case((100, 80), 0.15)
    solutions = {}
    for method in bench.solver_methods():
        try:
            solutions[method.name] = method.solve(case)
        except ImportError:
            continue  # pyamg and CHOLMOD come with `make bench`
    assert len(solutions) >= 6
    for name, found in solutions.items():
        assert bench.true_residual(case, found) < 1e-8, name
        np.testing.assert_allclose(found[0], solutions[bench.TUNED][0], atol=1e-3, err_msg=name)


def test_a_wrong_solution_is_not_timed():
    case = bench.make_case((40, 30), 0.15)
    liar = bench.SolverMethod("liar", lambda case: (0 * case.rhs[0], 0 * case.rhs[1]), 10**9)
    broken = bench.SolverMethod("broken", lambda case: 1 / 0, 10**9)
    result = bench.time_methods(case, [liar, broken], repeats=1)
    assert "residual" in result["liar"]["note"]
    assert "division by zero" in result["broken"]["note"]


def test_growth_exponent_of_a_power_law():
    sizes = [
        {"height": n, "width": n, "median": 3.0 * (n * n) ** 1.25} for n in (100, 500, 2000, 9000)
    ]
    assert bench.growth_exponent(sizes) == pytest.approx(1.25)


def test_another_checkout_that_is_none_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "GROWTH_SIZES", ((20, 20),))
    (here,) = bench.measure_growth(1)
    assert here["rounds"] == 1 and here["peak_bytes"] > 1e7 and "before" not in here
    (both,) = bench.measure_growth(1, bench.ROOT)
    assert both["before"]["rounds"] == 1
    bench.check_earlier(bench.ROOT)
    with pytest.raises(InputError, match=f"{tmp_path} is no built checkout with"):
        bench.run(True, tmp_path)


def test_the_parts_of_a_net_are_all_of_its_layers():
    found = bench_nets.forward_parts("lite", 1)
    assert found.keys() == {*bench_nets.PARTS, "all layers", "peak_bytes"}
    assert 0 < found["scores and upsampling"] <= found["all layers"]
    assert 10 * 2**20 < found["peak_bytes"] < 4 * 2**30


def test_a_net_that_caffe_cannot_time_is_named(tmp_path):
    (tmp_path / "net.prototxt").write_text("layer { ")
    with pytest.raises(InputError, match="net.prototxt ended early"):
        bench_nets.layer_times(tmp_path / "net.prototxt", "TEST", 1)


def test_nets_are_not_timed_without_caffe(tmp_path, monkeypatch):
    monkeypatch.delenv("PORTRAIT_MATTING_CAFFE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    with pytest.raises(InputError, match="program caffe is not built"):
        bench_nets.layer_times(tmp_path / "net.prototxt", "TEST", 1)


@pytest.mark.parametrize(
    "program, section",
    [
        (bench, bench.solvers_section),
        (bench_matte, bench_matte.mattes_section),
        (bench_nets, bench_nets.nets_section),
    ],
)
def test_the_document_holds_the_tables_of_the_committed_results(program, section):
    table = section(json.loads(program.RESULTS.read_text()))
    text = BENCHMARK.read_text()
    assert replace_section(text, program.SECTION, program.COMMAND, table, BENCHMARK) == text


def test_a_document_without_markers_is_refused():
    with pytest.raises(InputError, match=f"{BENCHMARK} has no lines <!-- bench"):
        replace_section("nothing", bench.SECTION, bench.COMMAND, "", BENCHMARK)
