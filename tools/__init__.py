"""Programs people run, and the prediction and evaluation code they share."""

import os

# Caffe reads it when it is imported, and prints every net it builds without it.
os.environ.setdefault("GLOG_minloglevel", "2")
# Threads that wait for work sleep: those that spin take the processors from other programs, and
# beside eight busy ones a photo took 15 times as long.  OpenMP reads it when it is loaded; the
# processes that a program starts inherit it.
if os.environ.setdefault("OMP_WAIT_POLICY", "passive").lower() == "passive":
    # They look for work so many times first, some ten microseconds: to wake them takes longer.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
