"""How Caffe is built: the kinds of builds, our changes to its source, the CUDA toolkit."""

from __future__ import annotations

import os
import subprocess
import tarfile

import pytest
from checkout import ROOT, clean_environment, scratch_checkout

from data_prep.common.assets import fetch

PATCHES = sorted((ROOT / "tools/caffe_patches").glob("*.patch"))
#: What GPU says, and the folder of that build.
KINDS = {"0": "caffe-mkl", "1": "caffe-mkl-cuda", "cudnn": "caffe-mkl-cudnn"}


@pytest.mark.parametrize(("gpu", "folder"), KINDS.items())
@pytest.mark.parametrize("remembered", [False, True])
def test_each_kind_of_build_has_its_folder_and_the_last_choice_stays(
    tmp_path, gpu, folder, remembered
):
    scratch_checkout(tmp_path)
    (tmp_path / ".venv").unlink()
    arguments = [f"GPU={gpu}"]
    if remembered:
        (tmp_path / ".venv/opt/caffe").mkdir(parents=True)
        (tmp_path / ".venv/opt/caffe/GPU").write_text(f"{gpu}\n")
        arguments = []
    printed = subprocess.run(
        ["make", "-n", "setup", *arguments],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
    ).stdout
    assert f"tools/build_caffe.sh .venv build/{folder} mkl {gpu}\n" in printed
    assert f"touch .venv/stamps/{folder}\n" in printed


def test_every_change_says_what_it_is_for_and_fits_the_source(tmp_path):
    with tarfile.open(fetch("caffe-source")) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    convolution = source / "src/caffe/layers/base_conv_layer.cpp"
    on_gpu = convolution.read_text().partition("#ifndef CPU_ONLY")[2]
    assert len(PATCHES) == 13
    for path in PATCHES:
        reason, _, change = path.read_text().partition("\n--- a/")
        assert reason.strip() and change
        subprocess.run(
            ["patch", "--strip=1", "--forward", "--fuzz=0", "--silent"],
            cwd=source,
            input=path.read_bytes(),
            check=True,
        )
    assert "SetTotalBytesLimit(INT_MAX)" in (source / "src/caffe/util/io.cpp").read_text()
    # Our convolutions compute in the processor's memory: those of a GPU stay what they were.
    ours = convolution.read_text()
    assert "banded::" in ours and "winograd::" in ours and "weight_gpu_gemm" in on_gpu
    assert ours.partition("#ifndef CPU_ONLY")[2] == on_gpu


@pytest.mark.parametrize("include", ["include", "targets/x86_64-linux/include"])
def test_a_toolkit_that_has_everything_is_taken(tmp_path, include):
    for file in ("bin/nvcc", f"{include}/cublas_v2.h", f"{include}/curand.h"):
        path = tmp_path / "cuda" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o755)
    result = subprocess.run(
        [ROOT / "tools/cuda_toolkit.sh", ROOT / ".venv", "1"],
        env=os.environ | {"CUDA_HOME": str(tmp_path / "cuda")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == f"{tmp_path / 'cuda'}\n"
