# Deep automatic portrait matting on BVLC Caffe.
#
#   make          set everything up, then matte the astronaut photo
#   make test     run the tests
#   make help     list all targets and what they cost
#
# `make help` prints the lines that begin with `## `: target | what it does | what it costs.

SHELL := /bin/bash
# A misspelled variable is empty, and empty prerequisites are silently not made.
MAKEFLAGS += --warn-undefined-variables
.DELETE_ON_ERROR:
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
PYTHON := $(VENV)/bin/python3
STAMPS := $(VENV)/stamps
MODELS := data/models
SNAPSHOTS := snapshots
# Nets that ship with 8 bits a weight, and the caffemodels that they are expanded to.
PACKED := $(wildcard data/weights/*.int8.npz)
EXPANDED := $(PACKED:data/weights/%.int8.npz=$(MODELS)/%.caffemodel)
# mkl (the paper's), open (Debian's OpenBLAS) or scipy-openblas (a newer one); the last choice stays.
BLAS ?= $(or $(shell cat $(VENV)/opt/caffe/BLAS 2>/dev/null),mkl)
# 0 (CPU only), 1 (CUDA) or cudnn (CUDA with cuDNN's convolutions); the last choice stays.
GPU ?= $(or $(shell cat $(VENV)/opt/caffe/GPU 2>/dev/null),0)
# Which Caffe is built: its folder in build/, and its stamp.
CAFFE := caffe-$(BLAS)$(patsubst -1,-cuda,$(filter-out -0,-$(GPU)))
# Our C++ and Caffe for this machine's processor; a wheel (`pip wheel .`) is portable.
export PORTRAIT_MATTING_ARCH ?= -march=native
DATASET ?= data/sample
PORTRAIT_SET := data/portrait_set
# A command-line value as one word of the shell.
quoted = '$(subst ','\'',$(1))'
# Where the nets look: the portrait set has databases of its own, with the variation
# that photos have and renders have not.
PORTRAIT_PREPARED := data/prepared_portrait
VARIATION := --vary
PREPARED ?= $(if $(filter $(PORTRAIT_SET),$(DATASET)),$(PORTRAIT_PREPARED),data/prepared)
# Written last: while it is missing, the databases are not complete.
PREPARED_MANIFEST := $(PREPARED)/manifest.json
PREPARE_OPTIONS ?= $(if $(filter $(PORTRAIT_SET),$(DATASET)),$(VARIATION))
# Not by $(MAKE): with .ONESHELL a recipe that has it runs as a whole under `make -n`.
prepare_portraits = $(PYTHON) -m data_prep.prepare --dataset $(call quoted,$(PORTRAIT_SET)) --out $(call quoted,$(PORTRAIT_PREPARED)) $(VARIATION)

# The distribution's Boost.Python serves one Python version: 3.11 on Debian 12.
BASE_PYTHON ?= $(firstword $(shell command -v python3.11) $(wildcard /usr/bin/python3.11))

DEBIAN_PACKAGES := g++ cmake ninja-build python3-dev python3-venv \
  libboost-system-dev libboost-thread-dev libboost-filesystem-dev libboost-regex-dev \
  libboost-python-dev libprotobuf-dev protobuf-compiler libgflags-dev libgoogle-glog-dev \
  libhdf5-dev liblmdb-dev libopencv-dev libopenblas-dev graphviz patch
# The browser that the tests of the local page drive.
TEST_PACKAGES := chromium chromium-driver

.PHONY: all help setup serve serve-bench test test-all caffe-test gpu-check sanitize bench bench-readme \
  net-bench matte-bench data train train-portrait train-fcn8s-half table1 study tune-lr solver-types ablation prototxt \
  clean compare-peers render-env portraits portrait-set composites portraits-check render-test test-wheel docs lint

## all | `make`: setup, then mattes of the astronaut photo in out/ | 8 minutes on 2 cores, 3 GB of disk; seconds when all is there
all: setup out/astronaut_sheet.png

## help | this list | nothing
help:
	@awk -F ' [|] ' '/^## / { printf "make %-17s %s\n%22s costs: %s\n", substr($$1, 4), $$2, "", $$3 }' \
	  $(firstword $(MAKEFILE_LIST))

## setup | all that the programs need: packages, Caffe, weights, the sample's databases | 8 minutes on 2 cores, 3 GB of disk
setup: $(STAMPS)/system $(STAMPS)/python $(STAMPS)/$(CAFFE) $(STAMPS)/extension \
  $(MODELS)/selfie.caffemodel $(MODELS)/multiclass.caffemodel $(MODELS)/person_mask.caffemodel \
  $(MODELS)/fcn8s_init.caffemodel \
  $(EXPANDED) $(PREPARED_MANIFEST) | $(SNAPSHOTS)

# --- what the machine needs ---------------------------------------------------

# $(call install_debian,PACKAGES,COMMAND): what is missing of them, with root or sudo;
# COMMAND is what to repeat afterwards.
define install_debian
mkdir -p $(@D)
missing=$$(for p in $(1); do \
  dpkg-query -W -f '$${db:Status-Abbrev}' $$p 2>/dev/null | grep -q '^ii' || echo $$p; done | xargs)
if [ -n "$$missing" ]; then
  install="apt-get install -y --no-install-recommends $$missing"
  if [ "$$(id -u)" = 0 ]; then as_root=
  elif sudo -n true 2>/dev/null; then as_root=sudo
  else echo "System packages are missing. Run this, then '$(2)' again:"; echo "  sudo $$install"; exit 1; fi
  $$as_root apt-get update
  DEBIAN_FRONTEND=noninteractive $$as_root $$install
fi
touch $@
endef

# $(call new_environment,FOLDER,WHY,REQUIREMENTS): a virtual environment of Python 3.11; WHY it
# has to be this one is said where there is none.
define new_environment
# Debian's own may have come with the packages a moment ago.
base="$(BASE_PYTHON)"; [ -n "$$base" ] || base=$$(command -v python3.11 || true)
[ -n "$$base" ] || { echo "No Python 3.11 was found$(2): install python3.11 or set BASE_PYTHON=/path/to/python3.11."; exit 1; }
[ -x $(1)/bin/python ] || "$$base" -m venv $(1)
$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(3)
mkdir -p $(@D)
touch $@
endef

$(STAMPS)/system: Makefile
	$(call install_debian,$(DEBIAN_PACKAGES),make)

# Only the tests need these.
$(STAMPS)/test-system: Makefile | $(STAMPS)/system
	$(call install_debian,$(TEST_PACKAGES),make test)

BOOST_REASON := , and the system's Boost.Python serves no other
REQUIREMENTS := $(addprefix requirements/,runtime.txt caffe.txt build.txt test.txt constraints.txt)

$(STAMPS)/python: $(REQUIREMENTS) | $(STAMPS)/system
	$(call new_environment,$(VENV),$(BOOST_REASON),-c requirements/constraints.txt \
	  -r requirements/runtime.txt -r requirements/caffe.txt -r requirements/build.txt -r requirements/test.txt)

$(STAMPS)/$(CAFFE): tools/build_caffe.sh tools/cuda_toolkit.sh requirements/scipy-openblas.txt $(wildcard tools/caffe_patches/*.patch) | $(STAMPS)/python
	tools/build_caffe.sh $(VENV) build/$(CAFFE) $(BLAS) $(GPU)
	rm -f $(STAMPS)/caffe-*
	touch $@

$(STAMPS)/extension: setup.py pyproject.toml $(wildcard caffe_layers/native/* data_prep/render/native/*) | $(STAMPS)/python
	$(PYTHON) -m pip install --quiet --no-build-isolation --no-deps -e .
	touch $@

# --- nets, weights, data ------------------------------------------------------

$(MODELS)/selfie.caffemodel: prototxt/netspec/selfie.py prototxt/catalog.py tools/convert_selfie.py | $(STAMPS)/$(CAFFE) $(STAMPS)/extension
	$(PYTHON) -m tools.convert_selfie

$(MODELS)/multiclass.caffemodel: prototxt/netspec/multiclass.py prototxt/catalog.py tools/convert_multiclass.py | $(STAMPS)/$(CAFFE) $(STAMPS)/extension
	$(PYTHON) -m tools.convert_multiclass

# It writes pose_detector.caffemodel too, and that one first.
$(MODELS)/person_mask.caffemodel: prototxt/netspec/pose.py prototxt/catalog.py tools/convert_pose.py | $(STAMPS)/$(CAFFE) $(STAMPS)/extension
	$(PYTHON) -m tools.convert_pose

$(EXPANDED): $(MODELS)/%.caffemodel: data/weights/%.int8.npz | $(STAMPS)/$(CAFFE) $(STAMPS)/extension
	$(PYTHON) -m tools.quantize_weights expand $*

$(MODELS)/fcn8s_init.caffemodel: | $(STAMPS)/$(CAFFE) $(STAMPS)/extension
	$(PYTHON) -m tools.init_weights fcn8s --from vgg16 --seed 0

$(MODELS)/lite_init.caffemodel: | $(STAMPS)/$(CAFFE) $(STAMPS)/extension
	$(PYTHON) -m tools.init_weights lite --from nothing --seed 0

$(MODELS)/portrait_init.caffemodel: prototxt/netspec/portrait.py $(MODELS)/selfie.caffemodel
	$(PYTHON) -m tools.init_weights portrait --from selfie

# Caffe does not make the folder of its snapshots.
$(SNAPSHOTS):
	mkdir -p $@

# `make data` looks at the dataset each time, set-up only makes sure of one.
## data | LMDBs, shape mask and p(alpha) of DATASET=data/sample, in PREPARED=data/prepared | 20 seconds, 60 MB; of 1,700 portraits 3 minutes, 5.3 GB
data $(PREPARED_MANIFEST): | $(STAMPS)/extension $(STAMPS)/$(CAFFE)
	$(PYTHON) -m data_prep.prepare --dataset $(call quoted,$(DATASET)) \
	  --out $(call quoted,$(PREPARED)) $(PREPARE_OPTIONS)

## prototxt | the net definitions in prototxt/, from their generators | seconds
prototxt:
	$(PYTHON) -m prototxt.generate

# --- the two jobs -------------------------------------------------------------

out/astronaut_sheet.png: | $(MODELS)/selfie.caffemodel $(MODELS)/multiclass.caffemodel $(MODELS)/person_mask.caffemodel
	$(PYTHON) -m tools.matte "$$($(PYTHON) -m data_prep.assets astronaut)" -o out

# Warm start (trimap), then end to end, with the narrow net.
## train | the small net (lite), warm start and end to end, on data/prepared | 10 to 15 minutes, 0.1 GB
train: setup $(MODELS)/lite_init.caffemodel
	$(PYTHON) -m tools.train lite

# On the rendered portraits of `make portrait-set`.
## train-portrait | portrait-lite, the trained net of the default model, on `make portrait-set` | some hours, 4 GB
train-portrait: setup $(MODELS)/portrait_init.caffemodel
	$(prepare_portraits)
	$(PYTHON) -m tools.train portrait --choose $(call quoted,$(PORTRAIT_SET))
	cp out/portrait_training.png docs/portrait_training.png

# The paper's net at half size: a night or two.
$(MODELS)/fcn8s_half_init.caffemodel: | $(STAMPS)/$(CAFFE) $(STAMPS)/extension
	$(PYTHON) -m tools.init_weights fcn8s_half --from vgg16 --seed 0

## train-fcn8s-half | the paper's net at half size, on the same portraits | a night or two, 17 GB
train-fcn8s-half: setup $(MODELS)/fcn8s_half_init.caffemodel
	$(prepare_portraits)
	$(PYTHON) -m tools.train fcn8s_half --choose $(call quoted,$(PORTRAIT_SET))

## table1 | the paper's Table 1: train, tune, measure all rows, into docs/benchmark.md | a night or more, 25 GB
table1: setup
	$(prepare_portraits)
	$(PYTHON) -m tools.table1 train
	$(PYTHON) -m tools.table1 tune
	$(PYTHON) -m tools.table1 measure
	$(PYTHON) -m tools.table1 docs
	$(PYTHON) -m tools.table1 pictures

# Table of the study on the test split, and what it takes to fill docs/training.md.
## study | errors of all trained nets on the test portraits, into docs/training.md | 1 to 2 hours
study: setup
	$(PYTHON) -m tools.experiments.study run --dataset $(call quoted,$(PORTRAIT_SET))
	$(PYTHON) -m tools.experiments.study worst --dataset $(call quoted,$(PORTRAIT_SET))
	$(PYTHON) -m tools.experiments.study docs

## tune-lr | short trainings at several learning rates, into docs/training.md | half an hour
tune-lr: setup
	$(PYTHON) -m tools.experiments.learning_rates run --dataset $(call quoted,$(PORTRAIT_SET))
	$(PYTHON) -m tools.experiments.learning_rates docs

## solver-types | SGD against Adam for the nets of Table 1, and rates, into docs/benchmark.md | an hour, 6 GB
solver-types: setup
	$(PYTHON) -m tools.experiments.solver_types run
	$(PYTHON) -m tools.experiments.solver_types docs

## ablation | trainings with one part left out each, into docs/training.md | a day or two, 18 GB
ablation: setup
	$(PYTHON) -m tools.experiments.ablation run --dataset $(call quoted,$(PORTRAIT_SET))
	$(PYTHON) -m tools.experiments.ablation docs

# The page for the browser.
## serve | the page for the browser and the server at http://127.0.0.1:8000 | seconds, then 0.6 GiB of memory
serve: setup
	$(PYTHON) -m tools.serve

# --- the portrait studio --------------------------------------------------------

# Blender's Python module needs NumPy 1: an environment of its own, which needs
# neither Caffe nor `make`.
RENDER_VENV := .venv-render
RENDER_PYTHON := $(RENDER_VENV)/bin/python
RENDER_STAMPS := $(RENDER_VENV)/stamps
RENDER_PACKAGES := g++ python3-dev python3-venv libx11-6 libxi6 libxxf86vm1 libxfixes3 libxrender1 \
  libxkbcommon0 libsm6 libice6 libgl1 libegl1 libgomp1
BLENDER_REASON := , and Blender's module serves no other
N ?= 24
SEED ?= 0
PER_PERSON ?= 4
OUT ?= data/portraits

$(RENDER_STAMPS)/system: Makefile
	$(call install_debian,$(RENDER_PACKAGES),make render-env)

$(RENDER_STAMPS)/python: requirements/render.txt requirements/constraints-render.txt | $(RENDER_STAMPS)/system
	$(call new_environment,$(RENDER_VENV),$(BLENDER_REASON),-c requirements/constraints-render.txt -r requirements/render.txt)

$(RENDER_STAMPS)/assets: data_prep/common/assets.py data_prep/render/base/assets.py | $(RENDER_STAMPS)/python
	$(RENDER_PYTHON) -m data_prep.render.assets
	touch $@

$(RENDER_STAMPS)/extension: setup.py pyproject.toml $(wildcard data_prep/render/native/*) $(RENDER_STAMPS)/python
	PORTRAIT_MATTING_EXTENSIONS=coverage $(RENDER_PYTHON) setup.py --quiet build_ext --inplace
	touch $@

## render-env | .venv-render: Blender and what the portrait studio needs | some minutes, 1.5 GB
render-env: $(RENDER_STAMPS)/python $(RENDER_STAMPS)/assets $(RENDER_STAMPS)/extension

## portraits | N=24 rendered portraits with exact mattes, from SEED=0, in OUT=data/portraits | 16 seconds and 1 MB a portrait
portraits: render-env
	$(RENDER_PYTHON) -m data_prep.render.portraits --count $(N) --seed $(SEED) \
	  --per-person $(PER_PERSON) --out $(call quoted,$(OUT))

# The set that the published weights are trained on: of 320 people every sixteenth is a
# validation person, of the others every fifth a test person.  240 people x 4
# backgrounds, 60 x 5 and 20 x 4, and 46 more training people with a hand beside the
# head; hours of rendering: go on with the same command, or begin with fewer PEOPLE,
# without those 46: nobody changes sides.
PEOPLE ?= 320
HANDS_UNTIL ?= $(if $(filter 320,$(PEOPLE)),1400,$(PEOPLE))
## portrait-set | the set that portrait-lite is trained on, in data/portrait_set | 2 hours, 1.5 GB
portrait-set: render-env
	$(RENDER_PYTHON) -m data_prep.render.portraits --count $(PEOPLE) --seed 77 --per-person 1 \
	  --hands-until $(HANDS_UNTIL) \
	  --test-every 5 --validation-every 16 --recomposite 3 --recomposite-test 4 \
	  --out $(call quoted,$(PORTRAIT_SET))
	$(RENDER_PYTHON) -m data_prep.set_record $(call quoted,$(PORTRAIT_SET)) $(call quoted,$(PORTRAIT_SET).json)

# The same people before photographs of the world, out of Debian's wallpaper packages.
COMPOSITES := data/composites
## composites | the people of `make portrait-set` before photographs, in data/composites | 20 minutes, 1.5 GB
composites: $(STAMPS)/python
	$(PYTHON) -m data_prep.composite $(call quoted,$(PORTRAIT_SET)) --out $(call quoted,$(COMPOSITES))

# Measured with dlib, which is in the other environment.
## portraits-check | what the face detector and the mattes say of the portraits in OUT | seconds
portraits-check: $(STAMPS)/python
	$(PYTHON) -m data_prep.render.check $(call quoted,$(OUT))

## render-test | all tests of the portrait studio, in Blender | some minutes
render-test: render-env
	$(RENDER_PYTHON) -m pytest --confcutdir tests/data_prep/render tests/data_prep/render \
	  -m 'render or not render'

# --- benchmark ----------------------------------------------------------------

# What our solver is compared with; CHOLMOD needs SuiteSparse and is left out
# where it does not build.
$(STAMPS)/bench: requirements/bench.txt requirements/constraints.txt | $(STAMPS)/python
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c requirements/constraints.txt -r requirements/bench.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c requirements/constraints.txt scikit-sparse || echo "Without CHOLMOD (it needs libsuitesparse-dev)."
	touch $@

## bench | the matting solve against other solvers, into docs/bench.json | half an hour, 14 GiB of memory
bench: setup $(STAMPS)/bench
	$(PYTHON) -m tools.benchmarks.solvers run

# 500 requests from 8 clients against the local server.
## serve-bench | 500 requests from 8 clients against the local server | some minutes
serve-bench: setup
	$(PYTHON) -m tools.benchmarks.server

## bench-readme | the solver's tables in docs/benchmark.md from docs/bench.json | seconds
bench-readme:
	$(PYTHON) -m tools.benchmarks.solvers readme

## net-bench | seconds and memory of the paper's net, into docs/benchmark.md | 3 minutes, 4 GiB of memory
net-bench: setup
	$(PYTHON) -m tools.benchmarks.nets run
	$(PYTHON) -m tools.benchmarks.nets readme

# Quality and speed of tools/matte.py.
## matte-bench | quality and speed of tools/matte.py, into docs/benchmark.md | 15 minutes, 6 GiB of memory
matte-bench: setup
	$(PYTHON) -m tools.benchmarks.mattes quality
	$(PYTHON) -m tools.benchmarks.mattes speed
	$(PYTHON) -m tools.benchmarks.mattes readme

# Free programs that others would take, in an environment of their own: what they need is
# none of our dependencies.
PEERS_VENV := .venv-peers
PEERS_PYTHON := $(PEERS_VENV)/bin/python
PEERS_STAMPS := $(PEERS_VENV)/stamps
FOLDER ?= data/sample
EVERY ?= 1
compare_peers = tools.compare_peers $(1) --folder $(call quoted,$(FOLDER)) --every $(EVERY)

$(PEERS_STAMPS)/python: requirements/peers.txt requirements/constraints-peers.txt | $(STAMPS)/system
	$(call new_environment,$(PEERS_VENV),,-c requirements/constraints-peers.txt -r requirements/peers.txt)

## compare-peers | our mattes and those of free programs, on FOLDER=data/sample | some minutes, 1 GB of disk
compare-peers: setup $(PEERS_STAMPS)/python
	$(PEERS_PYTHON) -m $(call compare_peers,masks)
	$(PYTHON) -m $(call compare_peers,report)

# --- documentation ------------------------------------------------------------

# An environment of its own, which needs neither Caffe nor `make`: the API pages are made
# from the docstrings without importing the code.
DOCS_VENV := .venv-docs
DOCS_STAMPS := $(DOCS_VENV)/stamps
DOCS_PACKAGES := python3-venv

$(DOCS_STAMPS)/system: Makefile
	$(call install_debian,$(DOCS_PACKAGES),make docs)

$(DOCS_STAMPS)/python: requirements/docs.txt requirements/constraints-docs.txt | $(DOCS_STAMPS)/system
	base="$(BASE_PYTHON)"; [ -n "$$base" ] || base=$$(command -v python3)
	[ -x $(DOCS_VENV)/bin/python ] || "$$base" -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c requirements/constraints-docs.txt -r requirements/docs.txt
	touch $@

## docs | the site of the documentation and the API, in build/site | 63 MB and a minute, then seconds
docs: $(DOCS_STAMPS)/python
	$(DOCS_VENV)/bin/python -m mkdocs build --strict --quiet

# --- tests --------------------------------------------------------------------

## lint | format, lint and types of the Python code, format of the C++ code | seconds
lint: $(STAMPS)/python
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	git ls-files '*.cpp' '*.h' | xargs $(VENV)/bin/clang-format --dry-run --Werror

## test | the tests | 8 to 12 minutes on 2 cores
# A file a core; threads that wait do not spin, or two files would slow each other down.
test: setup $(STAMPS)/test-system
	OMP_WAIT_POLICY=passive $(PYTHON) -m pytest tests -n auto --dist loadfile

# The C++ extensions under AddressSanitizer and UndefinedBehaviorSanitizer.
# Leaks of the Python interpreter itself are not ours to report.
SANITIZED := build/sanitize
## sanitize | tests of the C++ extensions under AddressSanitizer and UBSan | some minutes
sanitize: setup
	rm -rf $(SANITIZED)
	mkdir -p $(SANITIZED)
	git ls-files -z caffe_layers data_prep tests setup.py pyproject.toml requirements pytest.ini README.md LICENSE NOTICE data | xargs -0 cp --parents -t $(SANITIZED)
	cd $(SANITIZED)
	PORTRAIT_MATTING_SANITIZE=address,undefined ../../$(PYTHON) setup.py --quiet build_ext --inplace
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so)" \
	  ASAN_OPTIONS=detect_leaks=0 ../../$(PYTHON) -m pytest -p no:cacheprovider \
	  tests/caffe_layers/test_laplacian.py tests/caffe_layers/test_linear_solver.py \
	  tests/caffe_layers/test_matting.py tests/caffe_layers/test_color_models.py \
	  tests/caffe_layers/test_affinities.py tests/caffe_layers/test_permutohedral.py \
	  tests/data_prep/render/test_coverage.py -k 'not memory'

## test-wheel | build the wheel, install it into a fresh environment and matte with it | 2 to 5 minutes, 1.7 GB for the time being, network
test-wheel: setup
	$(PYTHON) -m pytest tests/test_packaging.py -m wheel

## test-all | test, caffe-test, sanitize, test-wheel and a training of lite: all but Blender's | an hour
test-all: setup $(STAMPS)/test-system caffe-test sanitize
	$(PYTHON) -m pytest tests -m 'not render'

## caffe-test | Caffe's own C++ and Python tests, built against this environment | some minutes
# Without a GPU the suites that need one are left out; TF32 rounds products to three digits,
# which gradient checks do not forgive.
caffe-test: $(STAMPS)/$(CAFFE)
	cd build/$(CAFFE)/cmake && ninja test.testbin
	cd ../source
	without=-*/2.*:*/3.*:*GPU*:*CuDNN*
	if ../../../$(VENV)/bin/caffe device_query -gpu 0 2>/dev/null; then without=-; fi
	NVIDIA_TF32_OVERRIDE=0 ../cmake/test/test.testbin --gtest_shuffle --gtest_filter="$$without"
	cd python && ../../../../$(PYTHON) -m unittest discover -s caffe/test

## gpu-check | a build with CUDA (`make GPU=1 gpu-check`): kernels, device, tests, a training pass | some minutes
# With a GPU the training pass is compared with the CPU's, without one the CPU's with itself.
gpu-check: setup caffe-test $(MODELS)/lite_init.caffemodel
	[ $(GPU) != 0 ] || { echo "This Caffe is built without CUDA; run 'make GPU=1 gpu-check'."; exit 1; }
	kernels=$$(nm -C $(VENV)/opt/caffe/lib/libcaffe.so | grep -c 'guard variable for __device_stub__')
	echo "$$kernels kernels"
	[ "$$kernels" -ge 200 ]
	gpu=
	if nvidia-smi > /dev/null 2>&1; then gpu="--gpu 0"; fi
	$(PYTHON) -m tools.run_gpu $$gpu --compare lite portrait --time lite --out out/gpu_check

## clean | remove build/ and .venv/, which `make` builds again; data/, snapshots/ and out/ stay | nothing, but the next `make` its 8 minutes
# Only what `make` builds again by itself: weights, snapshots, databases, rendered sets and
# measured errors (out/) are hours of work.
clean:
	rm -rf build $(VENV)
	echo "Removed build/ and $(VENV)/.  Kept: data/, snapshots/, out/, $(RENDER_VENV)/ and $(PEERS_VENV)/; remove what you want."
