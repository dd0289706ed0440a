#!/usr/bin/env bash
# Run tools/run_gpu.py in an archive of tools/pack_gpu.py, on a machine without network.
#
#   ./run_gpu.sh [--gpu 0] [--compare lite] [--time fcn8s] [--train lite] ...
#
# Beside the parts of the archive it first checks them against their sums, puts them together
# and unpacks them; killed meanwhile it begins anew, and where that is done it goes on.
# PYTHON=/path/to/python3.11 names the Python to use (python3): of the version that the
# archive was packed with, and with the packages that the message names if they are missing.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
python=${PYTHON:-python3}

sums=$here/portrait-matting.sha256
if [ -e "$sums" ]; then
  archive=$here/portrait-matting
  if ! cmp --silent "$sums" "$archive/UNPACKED"; then
    (cd "$here" && sha256sum --check --quiet "$sums") || { echo "run_gpu: the parts named above are damaged or not here; copy them again." >&2; exit 1; }
    # In the order of the list.  Python, as not every machine has xz.
    cut --characters=67- "$sums" | (cd "$here" && xargs cat) | "$python" -c '
import sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|xz") as archive:
    archive.extractall(sys.argv[1], filter="tar")' "$here"
    cp "$sums" "$archive/UNPACKED"
  fi
  exec "$archive/run_gpu.sh" "$@"
fi

wanted=$(< "$here/caffe/PYTHON")
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$version" = "$wanted" ] || { echo "run_gpu: $python is Python $version, and the archive was packed for $wanted; set PYTHON." >&2; exit 1; }

# The program caffe starts a Python of its own, which gets the modules of this one.
paths=$("$python" -c 'import sys; print(":".join(filter(None, sys.path)))')
export PYTHONPATH="$here:$here/caffe/python:$here/packages:$paths"
# NVIDIA's libraries: of the archive, else of the wheels that this Python has.
nvidia=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia
export LD_LIBRARY_PATH="$here/caffe/lib:$nvidia/cu13/lib:$nvidia/cudnn/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export PORTRAIT_MATTING_CAFFE="$here/caffe/bin/caffe"
[ ! -d "$here/assets" ] || export PORTRAIT_MATTING_ASSETS="$here/assets"
# Threads that wait give their processor away, or a net's many small steps take ten times as
# long where other programs want it.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
export GLOG_minloglevel="${GLOG_minloglevel:-2}"

missing=$("$python" - <<'EOF'
from importlib.util import find_spec
wanted = "numpy scipy skimage cv2 google.protobuf six lmdb tqdm matplotlib PIL dlib"
print(*(name for name in wanted.split() if find_spec(name.split(".")[0]) is None))
EOF
)
[ -z "$missing" ] || { echo "run_gpu: $python lacks $missing; pack them with --packages." >&2; exit 1; }
exec "$python" -P -m tools.run_gpu "$@"  # modules of the archive, not of the user's folder
