"""Build the C++ extensions and install the packages (`pip install -e .`)."""

import os
from glob import glob

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup

# PORTRAIT_MATTING_ARCH="" builds a portable extension.
arch = os.environ.get("PORTRAIT_MATTING_ARCH", "-march=native").split()
# `make sanitize` sets this to address,undefined.
sanitizers = os.environ.get("PORTRAIT_MATTING_SANITIZE", "")
# `make render-env` sets this to coverage, the one extension of that environment.
wanted = os.environ.get("PORTRAIT_MATTING_EXTENSIONS", "laplacian hybrid colors coverage").split()
checks = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"] if sanitizers else []


def extension(name: str) -> Pybind11Extension:
    """Our C++ module caffe_layers._`name`."""
    return Pybind11Extension(
        f"caffe_layers._{name}",
        [f"caffe_layers/native/{name}.cpp"],
        depends=glob("caffe_layers/native/*.h"),
        cxx_std=17,
        extra_compile_args=["-O3", "-fopenmp", *arch, *checks],
        extra_link_args=["-fopenmp", *checks],
    )


def coverage_extension() -> Pybind11Extension:
    """The studio's, without -march: its mattes are the same on every processor."""
    return Pybind11Extension(
        "data_prep.render._coverage",
        ["data_prep/render/native/coverage.cpp"],
        cxx_std=17,
        extra_compile_args=["-O3", "-ffp-contract=off", "-pthread", *checks],
        extra_link_args=["-pthread", *checks],
    )


setup(
    name="portrait-matting",
    version="0.1.0",
    description="Deep automatic portrait matting (ECCV 2016) on BVLC Caffe",
    python_requires=">=3.11",
    packages=[
        "caffe_layers", "data_prep", "data_prep.render", "prototxt", "tools", "tools.training",
    ],
    package_data={
        "data_prep": ["choose_mattes.html"],
        "data_prep.render": ["landmark_points.json", "LICENSES.md"],
        "tools": ["serve_page.html"],
    },
    ext_modules=[
        coverage_extension() if name == "coverage" else extension(name) for name in wanted
    ],
    cmdclass={"build_ext": build_ext},
)
