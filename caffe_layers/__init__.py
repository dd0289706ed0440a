"""The matting layer: its mathematics and, on top, the Caffe layers."""

#: Version of the whole project: pyproject.toml and the programs' ``--version`` read it here.
__version__ = "0.1.0"
