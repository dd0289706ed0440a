"""The reason of a failed training, from the ends of logs that Caffe wrote."""

import signal

import pytest

from tools.training.failure import failure_reason

TRACE = """\
*** Check failure stack trace: ***
    @     0x7faec9ed91ed  google::LogMessage::Fail()
    @     0x7faec9edcd05  google::LogMessage::SendToLog()
    @     0x558b5dda435e  train()
    @     0x558b5dda1441  _start
"""
ABORTED = """\
*** Aborted at 1795840425 (unix time) try "date -d @1795840425" if you are using GNU date ***
PC: @                0x0 (unknown)
*** SIGABRT (@0x4394) received by PID 17300 (TID 0x7f4c40913d40) from PID 17300; stack trace: ***
    @     0x7f4c4dac6cfe (unknown)
    @     0x561a2e9a5441 _start
"""
MISSING_DATABASE = """\
I20261128 04:33:40.746881 17195 net.cpp:139] Memory required for data: 13680000
I20261128 04:33:40.746886 17195 layer_factory.hpp:77] Creating layer full_mask
F20261128 04:33:40.746963 17195 db_lmdb.hpp:15] Check failed: mdb_status == 0 (2 vs. 0) No such \
file or directory
"""
PREFIX = """\
type: "Adam"
weights: "data/models/lite_init.caffemodel"
F20261128 04:33:41.384181 17205 solver.cpp:448] Cannot write to snapshot prefix 'nowhere/lite'.  \
Make sure that the directory exists and is writable.
"""
MISSPELLED = """\
I20261128 04:33:44.082259 17292 solver.cpp:102] Creating training net from net file: x.net
[libprotobuf ERROR google/protobuf/text_format.cc:337] Error parsing text-format \
caffe.NetParameter: 78:16: Message type "caffe.PoolingParameter" has no field named "kernel_sise".
F20261128 04:33:44.082911 17292 upgrade_proto.cpp:90] Check failed: \
ReadProtoFromTextFile(param_file, param) Failed to parse NetParameter file: x.net
"""
OTHER_SHAPES = """\
I20261128 04:34:07.000000 17374 layer_factory.hpp:77] Creating layer loss
I20261128 04:34:07.559705 17374 net.cpp:257] Network initialization done.
F20261128 04:34:07.562669 17374 net.cpp:759] Cannot copy param 0 weights from layer 'conv1_1'; \
shape mismatch.
"""
NO_MODULE = """\
I20261128 04:33:45.230871 17300 layer_factory.hpp:77] Creating layer alpha
ModuleNotFoundError: No module named 'caffe_layers.mating_layer'
terminate called after throwing an instance of 'boost::python::error_already_set'
"""
NO_MEMORY = """\
I20261128 04:33:45.230871 17300 solver.cpp:290] Learning Rate Policy: step
terminate called after throwing an instance of 'std::bad_alloc'
  what():  std::bad_alloc
"""
OTHER_EXCEPTION = """\
terminate called after throwing an instance of 'std::length_error'
  what():  vector::_M_default_append
"""
CUT_SHORT = """\
I20261128 04:33:42.195938 17257 db_lmdb.cpp:35] Opened lmdb data/prepared/train_mask
*** Aborted at 1795840422 (unix time) try "date -d @1795840422" if you are using GNU date ***
PC: @                0x0 (unknown)
*** SIGBUS (@0x7d120022800a) received by PID 17257 (TID 0x7f121b3fdd40) from PID 2261002; \
stack trace: ***
    @     0x7f122a338da1 mdb_cursor_get
    @     0x563ea8d0f441 _start
"""
LAYER = """\
I20261128 04:34:16.398509 17484 layer_factory.hpp:77] Creating layer alpha
caffe: MattingLayer: param_str has an unknown key 'log_evry'; known are lambda, solver
"""


@pytest.mark.parametrize(
    ("log", "returncode", "reason"),
    [
        (
            MISSING_DATABASE + TRACE,
            -signal.SIGABRT,
            "Check failed: mdb_status == 0 (2 vs. 0) No such file or directory (layer full_mask)",
        ),
        (
            PREFIX + TRACE,
            -signal.SIGABRT,
            "Cannot write to snapshot prefix 'nowhere/lite'.  Make sure that the directory "
            "exists and is writable",
        ),
        (
            MISSPELLED + TRACE,
            -signal.SIGABRT,
            "Check failed: ReadProtoFromTextFile(param_file, param) Failed to parse NetParameter "
            "file: x.net: Error parsing text-format caffe.NetParameter: 78:16: Message type "
            '"caffe.PoolingParameter" has no field named "kernel_sise"',
        ),
        (
            OTHER_SHAPES + TRACE,
            -signal.SIGABRT,
            "Cannot copy param 0 weights from layer 'conv1_1'; shape mismatch",
        ),
        (
            NO_MODULE + ABORTED,
            -signal.SIGABRT,
            "ModuleNotFoundError: No module named 'caffe_layers.mating_layer'",
        ),
        (NO_MEMORY + ABORTED, -signal.SIGABRT, "memory did not suffice (std::bad_alloc)"),
        (
            OTHER_EXCEPTION + ABORTED,
            -signal.SIGABRT,
            "std::length_error: vector::_M_default_append",
        ),
        (
            CUT_SHORT,
            -signal.SIGBUS,
            "Caffe was ended by SIGBUS (a file that it reads is shorter than it was, or the disk "
            "is full)",
        ),
        (
            LAYER,
            1,
            "MattingLayer: param_str has an unknown key 'log_evry'; known are lambda, solver",
        ),
        (
            "ERROR: unknown command line flag 'solvr'\n",
            1,
            "ERROR: unknown command line flag 'solvr'",
        ),
        ("", 7, "Caffe ended with status 7"),
    ],
)
def test_the_reason_is_the_line_above_the_stack_trace(log, returncode, reason):
    assert failure_reason(log.splitlines(keepends=True), returncode) == reason
