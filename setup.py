"""Extensions and contents of the package; pyproject.toml says the rest.

make                    # in a checkout: an editable install, compiled for this machine
pip wheel --no-deps .   # a wheel for every processor of this architecture
"""

import os
from glob import glob

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import find_packages, setup

# The five top-level folders of the project; all but `solver` hold Python modules.
FOLDERS = ("caffe_layers", "data_prep", "prototxt", "solver", "tools")

# Nothing: portable.  `make` sets this to -march=native, which lets the compiler fuse
# multiplications and additions, so that the last bits of a matte may differ.
arch = os.environ.get("PORTRAIT_MATTING_ARCH", "").split()
# `make sanitize` sets this to address,undefined.
sanitizers = os.environ.get("PORTRAIT_MATTING_SANITIZE", "")
# `make render-env` sets this to coverage, the one extension of that environment.
wanted = os.environ.get(
    "PORTRAIT_MATTING_EXTENSIONS", "laplacian hybrid colors affinities permutohedral coverage"
).split()
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
    # Every folder with an __init__.py is in, whenever it was made.
    packages=[
        *find_packages(include=[*FOLDERS, *(f"{folder}.*" for folder in FOLDERS)]),
        "prototxt.weights",
    ],
    # The weights lie where a reader of the repository looks for them, outside any
    # package; prototxt/catalog.py finds them in both places.
    package_dir={"prototxt.weights": "data/weights"},
    package_data={
        "data_prep.composites": ["*.tsv"],
        "data_prep.labeling": ["*.html"],
        "data_prep.render": ["**/*.json", "LICENSES.md"],
        "prototxt": ["**/*.prototxt"],
        "prototxt.weights": ["*"],
        "tools": ["**/*.html"],
    },
    # Large, and of use only where Caffe is built: tools/quantize_weights.py takes them from a
    # checkout.
    exclude_package_data={"prototxt.weights": ["*.int8.npz", "fcn8s*"]},
    include_package_data=False,  # MANIFEST.in is about source archives
    ext_modules=[
        coverage_extension() if name == "coverage" else extension(name) for name in wanted
    ],
    cmdclass={"build_ext": build_ext},
)
