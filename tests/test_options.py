"""Numbers and names on the command lines: each program says what it takes, in one sentence."""

from __future__ import annotations

import importlib
from argparse import ArgumentTypeError

import pytest

from data_prep.common.options import count, integer_from, named_path, positive

OPTIONS = [
    "data_prep.bench_prepare --full 0",
    "data_prep.bench_prepare --records 0",
    "data_prep.bench_prepare --workers 1",
    "data_prep.composite set --out out --per-person 0",
    "data_prep.composite set --out out --seed -1",
    "data_prep.import_dataset set --format plain --out out --seed -1",
    "data_prep.import_dataset set --format plain --out out --workers 0",
    "data_prep.inspect_lmdb set --records 0",
    "data_prep.inspect_lmdb set --seed -1",
    "data_prep.make_mattes photos trimaps --out out --seed -1",
    "data_prep.prepare --seed -1",
    "data_prep.render.check set --workers 0",
    "data_prep.render.portraits --out out --count 0",
    "data_prep.render.portraits --out out --count 4 --seed -1",
    "data_prep.render.portraits --out out --count 4 --test-every 1",
    "data_prep.render.portraits --out out --count 4 --scale 0",
    "data_prep.render.portraits --out out --count 4 --workers 0",
    "tools.benchmarks.mattes speed --largest -1",
    "tools.benchmarks.robustness turned --count 0",
    "tools.benchmarks.server --clients 0",
    "tools.benchmarks.server --requests 0",
    "tools.compare_peers report --every 0",
    "tools.experiments.ablation run --every 0",
    "tools.experiments.ablation run --scale 0",
    "tools.experiments.learning_curve lite --every 0",
    "tools.experiments.learning_rates run --every 0",
    "tools.experiments.learning_rates run --iterations 0",
    "tools.experiments.learning_rates run --rates -1",
    "tools.experiments.solver_types run --iterations 0",
    "tools.experiments.study run --limit 0",
    "tools.experiments.study worst --count 0",
    "tools.init_weights lite --from nothing --seed -1",
    "tools.pack_gpu --part-megabytes 0",
    "tools.run_gpu --iterations 0",
    "tools.run_gpu --passes 0",
    "tools.run_gpu --piece-megabytes 0",
    "tools.serve --megabytes -1",
    "tools.serve --port -1",
    "tools.serve --queue 0",
    "tools.serve --workers 0",
    "tools.table1 measure --every 0",
    "tools.table1 measure --oracle 0",
    "tools.table1 train --iterations 0",
    "tools.table1 train --warm-iterations 0",
    "tools.table1 tune --workers 0",
    "tools.test_net --every 0",
    "tools.test_net --gpu -1",
    "tools.test_net --workers 0",
]


@pytest.mark.parametrize("value", ["as given", "x"])
@pytest.mark.parametrize("command", OPTIONS)
def test_a_number_out_of_range_or_none_is_refused_in_a_sentence(command, value, capsys):
    module, *arguments = command.split()
    option, given = arguments[-2:]
    if value != "as given":
        arguments[-1] = given = value
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {option}: " in said and given in said and "; give " in said
    assert "invalid" not in said  # argparse's own words name a function of ours


def test_numbers_in_range_are_taken_and_others_named():
    assert count("1") == 1 and integer_from(0)("0") == 0 and positive("1e-3") == 1e-3
    for text in ("0", "-3", "1.5", "", "x"):
        with pytest.raises(ArgumentTypeError, match="give 1 or more"):
            count(text)
    for text in ("0", "-1", "nan", "inf", "", "x"):
        with pytest.raises(ArgumentTypeError, match="no number above 0"):
            positive(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["tools.matte", ""],
        ["tools.matte", "photo.jpg", "--mask", ""],
        ["tools.matte", "photo.jpg", "-o", ""],
        ["tools.matte", "photo.jpg", "--background", ""],
        ["tools.test_net", "--out", ""],
        ["tools.compare", ""],
        ["data_prep.prepare", "--dataset", ""],
    ],
    ids=" ".join,
)
def test_an_empty_name_is_not_the_current_folder(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(arguments[0]).main(arguments[1:])
    assert ended.value.code == 2 and not list(tmp_path.iterdir())
    assert "the name is empty; give one" in capsys.readouterr().err
    assert str(named_path(".")) == "."
