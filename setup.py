"""Build the C++ extension and install the packages (`pip install -e .`)."""

import os

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup

# PORTRAIT_MATTING_ARCH="" builds a portable extension.
arch = os.environ.get("PORTRAIT_MATTING_ARCH", "-march=native").split()

setup(
    name="portrait-matting",
    version="0.1.0",
    description="Deep automatic portrait matting (ECCV 2016) on BVLC Caffe",
    python_requires=">=3.11",
    packages=["caffe_layers", "data_prep", "prototxt", "tools"],
    ext_modules=[
        Pybind11Extension(
            "caffe_layers._laplacian",
            ["caffe_layers/_laplacian.cpp"],
            cxx_std=17,
            extra_compile_args=["-O3", "-fopenmp", *arch],
            extra_link_args=["-fopenmp"],
        )
    ],
    cmdclass={"build_ext": build_ext},
)
