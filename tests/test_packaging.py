"""What the package promises: licenses, contents, dependencies, and work without Caffe."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest
from checkout import ROOT

from caffe_layers import __version__
from data_prep.common.assets import ASSETS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOLDERS = ("caffe_layers", "data_prep", "prototxt", "solver", "tools")
PACKAGES = tuple(folder for folder in FOLDERS if folder != "solver")
NOTICE = (ROOT / "NOTICE").read_text()
SAMPLE = ROOT / "data/sample"

# Imported where it is found, and never required: the paper's platform, which pip cannot
# install, and a cluster for those who have one.
# It may also run segmenters that OpenCV cannot.
OPTIONAL = {"caffe", "dask", "distributed", "onnxruntime"}
# Packages by the module that they bring, where the names differ.
PACKAGE_OF = {
    "PIL": "pillow",
    "ai_edge_litert": "ai-edge-litert",
    "cv2": "opencv-python-headless",
    "dlib": "dlib-bin",
    "google": "protobuf",
    "mathutils": "bpy",
    "pi_heif": "pi-heif",
    "skimage": "scikit-image",
    "sksparse": "scikit-sparse",
}


def requirements(name: str) -> dict[str, str]:
    """Requirements of a file below requirements/: lower-case project name to its version."""
    found = {}
    for line in (ROOT / "requirements" / name).read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)(?:[<>=]+([\w.]+))?", line):
            found[match[1].lower().replace("_", "-")] = match[2]
    return found


# --- licenses -------------------------------------------------------------------


def notice_entry(name: str) -> str:
    """Heading and text of what NOTICE says of a work, "" if nothing."""
    for heading, text in re.findall(r"^(\S.*)\n((?:  .*\n)+)", NOTICE, re.MULTILINE):
        if name in heading.split(":")[0].split(", "):
            return f"{heading}\n{text}"
    return ""


@pytest.mark.parametrize("name", ASSETS)
def test_every_asset_is_named_in_the_notice_with_its_package_and_license(name: str):
    asset, entry = ASSETS[name], notice_entry(name)
    assert asset.package.replace("==", " ") in entry
    assert asset.license.split(" (")[0].lower() in entry.lower()


@pytest.mark.parametrize(
    "file",
    [
        f"{name}.txt"
        for name in (
            *("runtime", "caffe", "build", "test", "bench", "onnx", "render"),
            *("gpu", "gpu-cudnn", "peers"),
        )
    ],
)
def test_every_package_that_is_installed_is_named_in_the_notice(file: str):
    words = set(re.findall(r"[\w.-]+\w", NOTICE.lower()))
    assert requirements(file).keys() <= words


def test_the_notice_names_the_version_of_blender_that_the_environment_maps_are_from():
    assert f"bpy {requirements('constraints-render.txt')['bpy']}" in NOTICE


def test_the_notice_says_that_the_landmark_model_excludes_commercial_use():
    assert "excludes commercial use" in " ".join(notice_entry("landmark-model").split())


def test_the_weights_are_accompanied_by_the_apache_license():
    text = (ROOT / "data/weights/LICENSE").read_text()
    assert "Apache License" in text and "TERMS AND CONDITIONS" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert "data/weights/LICENSE" in PROJECT["license-files"]


# --- version and dependencies -----------------------------------------------------


def test_the_version_is_the_same_wherever_it_is_written():
    citation = text_of("CITATION.cff")
    assert f"\nversion: {__version__}\n" in citation
    released = re.search(r"^## \[(\d[^\]]*)\] - (\S+)$", text_of("CHANGELOG.md"), re.M)
    assert released and released[1] == __version__
    assert f"\ndate-released: {released[2]}\n" in citation


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def imports_of(path: Path) -> set[str]:
    """Top-level modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


def test_every_imported_package_is_a_dependency():
    """But for the studio, benchmark and comparison, which have requirements of their own."""
    # Programs that are started as files find `use_venv` beside them.
    known = sys.stdlib_module_names | set(FOLDERS) | OPTIONAL | {"use_venv"}
    undeclared = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            declared = requirements("runtime.txt").keys()
            if (ROOT / "data_prep/render") in path.parents:
                declared |= requirements("render.txt").keys()
            if path.stem == "bench" or "benchmarks" in path.parts:
                declared |= requirements("bench.txt").keys() | {"numba", "scikit-sparse"}
                declared |= requirements("caffe.txt").keys()
            if path.stem == "peers":
                declared |= requirements("peers.txt").keys()
            for module in imports_of(path) - known:
                if PACKAGE_OF.get(module, module) not in declared:
                    undeclared.setdefault(module, set()).add(path.name)
    assert not undeclared


def test_make_compiles_for_the_machine_and_leaves_the_choice_to_its_user():
    rule = "show-arch: ; @printenv PORTRAIT_MATTING_ARCH || true"
    show = ["make", "-s", f"--eval={rule}", "show-arch"]
    unset = {name: value for name, value in os.environ.items() if name != "PORTRAIT_MATTING_ARCH"}
    for environment, expected in (
        (unset, "-march=native\n"),
        ({**unset, "PORTRAIT_MATTING_ARCH": ""}, "\n"),
        ({**unset, "PORTRAIT_MATTING_ARCH": "-mavx2"}, "-mavx2\n"),
    ):
        run = subprocess.run(show, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert run.stdout == expected


# --- what is in the package ---------------------------------------------------------


def copy_sources(target: Path) -> None:
    """What a source archive is made of, into an empty folder."""
    unwanted = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
    for name in (*FOLDERS, "requirements", "data/weights"):
        shutil.copytree(ROOT / name, target / name, ignore=unwanted)
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, target)


def add_packed_weights(source: Path) -> None:
    """Weights of a large net, as they ship with the repository."""
    for name in ("fcn8s_half.int8.npz", "fcn8s_half.shape_mask.npz"):
        (source / "data/weights" / name).touch()


@pytest.fixture(scope="module")
def contents(tmp_path_factory) -> Path:
    """The package as a wheel would hold it, without compiled extensions."""
    folder = tmp_path_factory.mktemp("package")
    copy_sources(folder / "source")
    add_packed_weights(folder / "source")
    run = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", folder / "built"],
        cwd=folder / "source",
        env=portable(),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return folder / "built"


def portable() -> dict[str, str]:
    """The environment of somebody who builds a wheel: neither our paths nor our options."""
    ours = ("PYTHONPATH", "PORTRAIT_MATTING_ARCH", "PORTRAIT_MATTING_EXTENSIONS")
    return {name: value for name, value in os.environ.items() if name not in ours}


def test_only_the_projects_folders_are_installed(contents: Path):
    assert {path.name for path in contents.iterdir()} == set(PACKAGES)


def test_weights_of_large_nets_are_not_installed(contents: Path):
    shipped = {path.name for path in (contents / "prototxt/weights").iterdir()}
    assert {"portrait.caffemodel", "portrait.shape_mask.npz"} <= shipped
    assert not [name for name in shipped if name.startswith("fcn8s")]


@pytest.mark.parametrize("kind", ["*.py", "*.prototxt", "*.html", "*.json", "LICENSES.md"])
def test_every_file_that_the_programs_need_is_installed(contents: Path, kind: str):
    wanted = {path.relative_to(ROOT) for folder in PACKAGES for path in (ROOT / folder).rglob(kind)}
    assert wanted == {path.relative_to(contents) for path in contents.rglob(kind)}


def test_a_source_archive_carries_neither_portraits_nor_weights_of_large_nets(tmp_path: Path):
    copy_sources(tmp_path)
    add_packed_weights(tmp_path)
    for name in ("sample", "benchmark"):
        picture = tmp_path / "data" / name / "images/p.jpg"
        picture.parent.mkdir(parents=True)
        picture.touch()
    run = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", tmp_path],
        cwd=tmp_path,
        env=portable(),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    (listing,) = tmp_path.glob("*.egg-info/SOURCES.txt")
    carried = [Path(line) for line in listing.read_text().splitlines()]
    in_data = {path.parts[1] for path in carried if path.parts[0] == "data"}
    assert in_data == {"weights"}
    assert not [path for path in carried if "fcn8s" in path.name and path.suffix == ".npz"]


def printed_by(program: str, contents: Path, folder: Path) -> str:
    """What a program prints that imports the installed package, in a folder of its own."""
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        env=portable() | {"PYTHONPATH": str(contents)},
    )
    return run.stdout


def test_the_installed_package_finds_its_nets_and_weights(contents: Path, tmp_path: Path):
    program = (
        "from tools.matting.models import MODELS\n"
        "from prototxt.catalog import MADE_WEIGHTS, MULTICLASS\n"
        "carried = MODELS['portrait']\n"
        "print(carried.weights, carried.shape_mask, *(n.deploy for n in MULTICLASS.values()), "
        "*(m.deploy for m in MODELS.values()))\n"
        "print(MADE_WEIGHTS)\n"
    )
    carried, made = printed_by(program, contents, tmp_path).splitlines()
    for path in map(Path, carried.split()):
        assert path.is_file() and contents in path.parents
    # What a command makes does not go among the package's own files.
    assert contents not in Path(made).parents and Path(sys.prefix) in Path(made).parents
    weights = Path(carried.split()[0])
    assert "Apache License" in weights.with_name("LICENSE").read_text()


def test_the_installed_package_looks_for_weights_where_its_programs_write_them(
    contents: Path, tmp_path: Path
):
    program = (
        "from prototxt.catalog import MADE_WEIGHTS, NETS\n"
        "from tools.convert_selfie import DEFAULT_OUTPUT\n"
        "from tools.experiments.ablation import chosen\n"
        "from tools.matting.models import MODELS\n"
        "print(DEFAULT_OUTPUT, MODELS['selfie'].weights)\n"
        "print(MADE_WEIGHTS, NETS['lite'].initial_weights().parent, "
        "chosen(['nomask'])[0].installed.parent)\n"
    )
    one, folder = printed_by(program, contents, tmp_path).splitlines()
    for same in (one, folder):
        assert len(set(same.split())) == 1 and str(contents) not in same


def test_the_installed_package_says_where_weights_of_large_nets_come_from(
    contents: Path, tmp_path: Path
):
    program = "from tools.matting.models import MODELS; print(MODELS['fcn8s'].command)"
    command = "python -m tools.quantize_weights expand fcn8s_half --source CHECKOUT/data/weights"
    assert printed_by(program, contents, tmp_path) == f"{command}\n"


def test_the_checkout_keeps_its_weights_where_the_readme_says():
    from tools.matting.models import DEFAULT_MODEL, MODELS

    assert MODELS["portrait"].weights == ROOT / "data/weights/portrait.caffemodel"
    assert MODELS[DEFAULT_MODEL].weights == ROOT / "data/models/selfie.caffemodel"


# --- without Caffe --------------------------------------------------------------------


def without_caffe(program: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """Run a program with all packages but Caffe: its .pth file is not read under -S."""
    paths = [ROOT, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run(
        [sys.executable, "-S", "-c", program, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )


def entry_point(name: str) -> str:
    """What the script does that pip writes for an entry point."""
    module, function = PROJECT["scripts"][name].split(":")
    return (
        "import importlib.util, sys; assert importlib.util.find_spec('caffe') is None\n"
        f"sys.argv[0] = {name!r}\nfrom {module} import {function}\nsys.exit({function}())\n"
    )


@pytest.fixture
def photo_and_trimap(tmp_path: Path) -> tuple[Path, Path]:
    """A quarter of a sample portrait, and a trimap from its matte."""
    return write_photo_and_trimap(tmp_path)


def write_photo_and_trimap(folder: Path) -> tuple[Path, Path]:
    photo = cv2.resize(cv2.imread(str(SAMPLE / "images/p0104.jpg")), (150, 200))
    matte = cv2.imread(str(SAMPLE / "mattes/p0104.png"), cv2.IMREAD_GRAYSCALE)
    matte = cv2.resize(matte, (150, 200))
    trimap = np.full_like(matte, 128)
    trimap[cv2.erode(matte, np.ones((9, 9))) == 255] = 255
    trimap[cv2.dilate(matte, np.ones((9, 9))) == 0] = 0
    cv2.imwrite(str(folder / "photo.png"), photo)
    cv2.imwrite(str(folder / "matte.png"), matte)
    cv2.imwrite(str(folder / "trimap.png"), trimap)
    return folder / "photo.png", folder / "trimap.png"


def assert_caffe_is_asked_for(run: subprocess.CompletedProcess) -> None:
    assert run.returncode == 1 and not run.stdout
    assert run.stderr.count("\n") == 1, run.stderr
    assert "Caffe" in run.stderr and "has to be built" in run.stderr and "`make`" in run.stderr


@pytest.mark.parametrize("name", PROJECT["scripts"])
def test_every_installed_program_explains_itself_without_caffe(name: str, tmp_path: Path):
    run = without_caffe(entry_point(name), "--help", cwd=tmp_path)
    assert run.returncode == 0 and run.stdout.startswith(f"usage: {name}"), run.stderr


@pytest.mark.parametrize("name", PROJECT["scripts"])
def test_every_installed_program_tells_its_version(name: str, tmp_path: Path):
    run = without_caffe(entry_point(name), "--version", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, f"{__version__}\n")


@pytest.mark.parametrize("name", ["portrait-matte", "portrait-matte-compare"])
def test_a_photo_that_needs_a_net_is_told_in_one_sentence_that_caffe_has_to_be_built(
    name: str, photo_and_trimap: tuple[Path, Path], tmp_path: Path
):
    assert_caffe_is_asked_for(without_caffe(entry_point(name), photo_and_trimap[0], cwd=tmp_path))


def test_the_server_without_caffe_ends_with_that_sentence(tmp_path: Path):
    program = entry_point("portrait-matte-serve")
    assert_caffe_is_asked_for(without_caffe(program, "--port", 0, "--workers", 1, cwd=tmp_path))


def test_a_photo_with_a_trimap_is_matted_without_caffe(
    photo_and_trimap: tuple[Path, Path], tmp_path: Path
):
    photo, trimap = photo_and_trimap
    run = without_caffe(
        entry_point("portrait-matte"),
        photo,
        "--trimap",
        trimap,
        "--output",
        "alpha",
        "-o",
        tmp_path / "alpha.png",
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert_near_the_matte(tmp_path)


def assert_near_the_matte(folder: Path) -> None:
    alpha, matte = (
        cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE) / 255
        for name in ("alpha.png", "matte.png")
    )
    assert np.abs(alpha - matte).mean() < 0.05


def test_a_solver_without_mkl_says_what_to_install(tmp_path: Path):
    program = (
        "from caffe_layers.linear_solver import PardisoSolver, SolveError\n"
        "try:\n    PardisoSolver().analyze((8, 8))\n"
        "except SolveError as error:\n    print(error)\n"
    )
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYPARDISO_MKL_RT": str(tmp_path / "libmkl_rt.so"),
    }
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        text=True,
        capture_output=True,
    )
    assert "pip install pypardiso mkl" in run.stdout and not run.stderr


# --- the wheel ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A fresh environment with nothing but the wheel, made from a source archive."""
    folder = tmp_path_factory.mktemp("wheel")
    copy_sources(folder / "source")

    def run(*command: object, cwd: Path = folder) -> str:
        done = subprocess.run(
            list(map(str, command)),
            cwd=cwd,
            env=portable(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    run(sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", folder, cwd=folder / "source")
    run(sys.executable, "-m", "venv", folder / "venv")
    python = folder / "venv/bin/python"
    (archive,) = folder.glob("portrait_matting-*.tar.gz")
    log = run(python, "-m", "pip", "wheel", "-v", "--no-deps", "-w", folder, archive)
    # It runs on other processors too.
    assert "-O3" in log and "-march=native" not in log
    (wheel,) = folder.glob("*.whl")
    constraints = ROOT / "requirements/constraints.txt"
    run(python, "-m", "pip", "install", "-c", constraints, f"{wheel}[caffe]")
    yield folder / "venv/bin"
    shutil.rmtree(folder)  # 1.7 GB


@pytest.mark.wheel
def test_the_wheel_solves_in_a_fresh_environment(environment: Path, tmp_path: Path):
    write_photo_and_trimap(tmp_path)
    program = (
        "import cv2\n"
        "from caffe_layers.matting import solve_alpha\n"
        "photo, trimap = cv2.imread('photo.png'), cv2.imread('trimap.png', 0)\n"
        "cv2.imwrite('alpha.png', 255 * solve_alpha(photo, trimap == 255, trimap == 0))\n"
    )
    run = subprocess.run(
        [environment / "python", "-c", program],
        cwd=tmp_path,
        env=portable(),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert_near_the_matte(tmp_path)


@pytest.mark.wheel
@pytest.mark.parametrize("name", PROJECT["scripts"])
def test_the_wheels_programs_explain_themselves(environment: Path, name: str, tmp_path: Path):
    run = subprocess.run(
        [environment / name, "--help"], cwd=tmp_path, env=portable(), capture_output=True, text=True
    )
    assert run.returncode == 0 and run.stdout.startswith(f"usage: {name}"), run.stderr


@pytest.mark.wheel
def test_the_wheel_asks_for_caffe_where_a_net_is_needed(environment: Path, tmp_path: Path):
    photo, _ = write_photo_and_trimap(tmp_path)
    assert_caffe_is_asked_for(
        subprocess.run(
            [environment / "portrait-matte", photo],
            cwd=tmp_path,
            env=portable(),
            capture_output=True,
            text=True,
        )
    )


@pytest.mark.wheel
def test_the_wheel_mattes_by_its_own_net_where_caffe_is(environment: Path, tmp_path: Path):
    """After the commands that it names when weights are missing."""
    caffe = Path(importlib.util.find_spec("caffe").origin).parents[1]
    with_caffe = portable() | {"PYTHONPATH": str(caffe)}
    matte = [environment / "portrait-matte", SAMPLE / "images/p0104.jpg", "-o", "cutout.png"]

    def run(*command: object) -> subprocess.CompletedProcess:
        return subprocess.run(command, cwd=tmp_path, env=with_caffe, capture_output=True, text=True)

    for command in ("tools.convert_selfie", "tools.convert_pose", "tools.convert_multiclass"):
        missing = run(*matte)
        assert missing.returncode == 1 and f"`python -m {command}`" in missing.stderr
        assert run(environment / "python", "-m", command).returncode == 0
    done = run(*matte)
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(tmp_path / "cutout.png"), cv2.IMREAD_UNCHANGED).shape == (800, 600, 4)
