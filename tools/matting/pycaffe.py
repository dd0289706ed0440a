"""Caffe's Python module, loaded when the first net is built."""

from __future__ import annotations

from types import ModuleType

from data_prep.common.errors import InputError


def load_caffe() -> ModuleType:
    """The module ``caffe``, with its messages in ``caffe.proto.caffe_pb2``.

    Raises
    ------
    InputError
        If Caffe is not built for this Python, or a library that it needs is missing.
    """
    try:
        import caffe
    except ImportError as error:
        raise InputError(
            f"Caffe cannot be loaded ({error}); it has to be built: run `make` in a clone of "
            "this project, or give a trimap or mask of your own, which needs no net."
        ) from error
    return caffe
