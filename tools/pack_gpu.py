#!/usr/bin/env python3
"""Pack all that a GPU machine without network needs into one archive, in parts.

    tools/pack_gpu.py --weights lite_init selfie -o out/bundle
    tools/pack_gpu.py --weights fcn8s_init --part-megabytes 60 --packages lmdb dlib-bin

The archive holds this checkout, Caffe with its Python module as `make` built it, the
libraries that it is linked with (NVIDIA's only with --nvidia), our extensions, the nets,
weights in float16, one folder of databases and one of portraits.  Beside its parts lie their
sums and run_gpu.sh, which checks and unpacks them there, then does what tools/run_gpu.py says:

    ./run_gpu.sh --gpu 0 --train lite

Databases shrink with ``data_prep.prepare --augment none``, Caffe with ``make BLAS=open``, which
leaves MKL out.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
import io
import lzma
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from tqdm import tqdm

from data_prep.common.assets import fetch
from data_prep.common.errors import InputError, run_program
from data_prep.common.files import atomic_write
from data_prep.common.options import count, named_path
from prototxt.catalog import MADE_WEIGHTS, MULTICLASS, PERSON_MASK, POSE_DETECTOR
from tools.matting.converted_net import check_files
from tools.matting.models import ROOT
from tools.portable.pieces import PieceWriter, half_weights, write_sums

#: Folder that the archive unpacks to, and its name.
NAME = "portrait-matting"
#: Parts of a checkout that the programs need.
FOLDERS = ("caffe_layers", "data_prep", "prototxt", "solver", "tools", "data/weights")
#: Large weights, which go there by --weights if they are wanted.
NOT_PACKED = ":(exclude)data/weights/*.int8.npz"
#: Libraries of every Linux, and of the driver.
SYSTEM = re.compile(
    r"(ld-linux|libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|libcuda|libresolv|libutil)[.-]"
)
NVIDIA = re.compile(r"lib(cu(dart|blas|blasLt|rand|dnn\w*))\.so")
#: What MKL loads while it runs, besides what it is linked with: by processor and threads.
MKL = (
    "libmkl_core",
    "libmkl_gnu_thread",
    "libmkl_intel_thread",
    "libmkl_intel_lp64",
    "libmkl_def",
    "libmkl_avx*",
    "libmkl_vml_*",
    "libiomp5",
)


def needed_libraries(binaries: Sequence[Path], nvidia: bool) -> dict[str, Path]:
    """Shared libraries that binaries are linked with, by name, without the system's.

    Raises
    ------
    InputError
        If one is not found on this machine.
    """
    found: dict[str, Path] = {}
    for binary in binaries:
        said = subprocess.run(["ldd", str(binary)], capture_output=True, text=True).stdout
        for name, path in re.findall(r"^\s*(\S+) => (not found|\S+)", said, re.MULTILINE):
            if SYSTEM.match(name) or (NVIDIA.match(name) and not nvidia):
                continue
            if path == "not found":
                raise InputError(f"{binary} needs {name}, which is not here; run `make` again.")
            found[name] = Path(path)
    for name, path in dict(found).items():
        if name.startswith("libmkl_rt"):
            for part in MKL:
                for each in path.parent.glob(f"{part}.so*"):
                    found.setdefault(each.name, each)
    return found


def tracked_files() -> Iterator[Path]:
    """Files of the checkout that programs need, as git knows them, and our extensions."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *FOLDERS, NOT_PACKED], cwd=ROOT, capture_output=True, check=True
    ).stdout
    yield from (ROOT / name for name in listed.decode().split("\0") if name)
    yield from ROOT.glob("caffe_layers/*.so")


def files_of_packages(names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Place in the archive and path of every file of installed packages."""
    for name in names:
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:
            raise InputError(f"--packages {name} is not installed here.") from None
        for file in files:
            path = Path(str(file.locate()))
            if path.is_file() and not str(file).startswith(".."):
                yield f"packages/{file}", path


def files_below(folder: Path, place: str) -> Iterator[tuple[str, Path]]:
    """Place in the archive and path of every file of a folder, which lies at ``place``."""
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist; run `make` first.")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield f"{place}/{path.relative_to(folder)}", path


def contents(options: argparse.Namespace) -> Iterator[tuple[str, Path | bytes]]:
    """Place in the archive of everything, and the file or its content."""
    yield "run_gpu.sh", ROOT / "tools/run_gpu.sh"
    yield "caffe/PYTHON", f"{sys.version_info[0]}.{sys.version_info[1]}\n".encode()
    for path in tracked_files():
        yield str(path.relative_to(ROOT)), path

    prefix = options.caffe
    program, module = prefix / "bin/caffe", prefix / "python/caffe/_caffe.so"
    if not module.is_file():
        raise InputError(f"{module} does not exist; build Caffe with `make GPU=1` first.")
    yield "caffe/bin/caffe", program
    for path in sorted((prefix / "python").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and "test" not in path.parts:
            yield f"caffe/{path.relative_to(prefix)}", path
    binaries = [program, module]
    if options.tests:
        if not options.tests.is_file():
            raise InputError(f"{options.tests} does not exist; run `make caffe-test` first.")
        yield "caffe/test/test.testbin", options.tests
        binaries.append(options.tests)
    for name, path in needed_libraries(binaries, options.nvidia).items():
        yield f"caffe/lib/{name}", path.resolve()
    yield from files_of_packages(options.packages)
    for name in options.assets:
        yield from files_below(fetch(name).parent, f"assets/{name}")

    for name in options.weights:
        path = MADE_WEIGHTS / f"{name}.caffemodel"
        if not path.is_file():
            raise InputError(
                f"{path} does not exist; `make data/models/{path.name}` makes initial weights."
            )
        yield f"data/models/{name}.half.npz.00", half_weights(path)
    converted = *MULTICLASS.values(), POSE_DETECTOR, PERSON_MASK
    for net in converted:
        check_files(net)
    for path in dict.fromkeys(net.weights for net in converted):  # nets may share a file
        yield str(path.relative_to(ROOT)), path
    yield from files_below(options.prepared, "data/prepared")
    yield from files_below(options.dataset, "data/sample")


def pack(options: argparse.Namespace) -> list[Path]:
    """Write the archive, its sums last, and what unpacks it; returns its parts."""
    path, sums = options.out / f"{NAME}.tar.xz", options.out / f"{NAME}.sha256"
    sums.unlink(missing_ok=True)
    with (
        PieceWriter(path, options.part_megabytes * 2**20) as parts,
        lzma.open(parts, "wb", preset=options.preset) as compressed,  # type: ignore[call-overload]
        tarfile.open(fileobj=compressed, mode="w|") as archive,
    ):
        for place, content in tqdm(list(contents(options)), "packing", unit="file"):
            if isinstance(content, Path):
                archive.add(content.resolve(), f"{NAME}/{place}", recursive=False)
            else:
                entry = tarfile.TarInfo(f"{NAME}/{place}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    with atomic_write(options.out / "run_gpu.sh") as scratch:
        shutil.copy2(ROOT / "tools/run_gpu.sh", scratch)
    write_sums(sums, parts.pieces)
    return parts.pieces


def main(argv: list[str] | None = None) -> int:
    """Pack what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--weights", nargs="*", default=["lite_init"], metavar="NAME", help="of data/models")
    add("--prepared", type=named_path, default=ROOT / "data/prepared", help="folder of databases")
    add("--dataset", type=named_path, default=ROOT / "data/sample", help="portraits to matte there")
    add(
        "--caffe", type=named_path, default=Path(sys.prefix, "opt/caffe"), help="an installed Caffe"
    )
    add("--tests", type=named_path, metavar="FILE", help="Caffe's own tests, test.testbin")
    add("--packages", nargs="*", default=[], metavar="NAME", help="Python packages to take along")
    add(
        "--assets",
        nargs="*",
        default=["landmark-model"],
        metavar="NAME",
        help="what programs would download (%(default)s, 100 MB, which mattes are made with)",
    )
    add("--nvidia", action="store_true", help="take NVIDIA's libraries along, 0.5 GB")
    add(
        "--part-megabytes",
        type=count,
        default=2000,
        metavar="N",
        help="2**20 bytes a part, at most (%(default)s)",
    )
    add("--preset", type=int, choices=range(10), default=6, help="of xz (%(default)s)")
    add("-o", "--out", type=named_path, default=Path("out/bundle"), help="folder (%(default)s)")
    options = parser.parse_args(argv)
    parts = pack(options)
    size = sum(part.stat().st_size for part in parts)
    print(f"wrote {size / 2**20:.1f} MiB in {len(parts)} parts: {parts[0]} ...")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
