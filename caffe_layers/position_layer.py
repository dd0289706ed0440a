"""Caffe layer: the position channels of PortraitFCN+ from six numbers a portrait.

layer {
  name: "position"  type: "Python"
  bottom: "position_map"  bottom: "image"  top: "position"
  python_param { module: "caffe_layers.position_layer" layer: "PositionLayer"
                 param_str: '{"reduction": 2}' }
}
"""

from __future__ import annotations

import caffe

from caffe_layers.layer_support import (
    LayerError,
    check_blobs,
    parse_parameters,
    reported,
    whole_number,
)
from caffe_layers.position import position_channels

NAME = "PositionLayer"

PARAMETERS = {
    # Factor by which portraits were reduced to the image.
    "reduction": whole_number(1, least=1),
}


class PositionLayer(caffe.Layer):
    """Bottoms: maps (N, 6, 1, 1), image (N, C, H, W), for its size.  Top: (N, 2, H, W).

    Both bottoms count as constants: their gradient is 0.
    """

    @reported
    def setup(self, bottom, top):
        check_blobs(NAME, bottom, 2, "bottoms (position maps, image)")
        check_blobs(NAME, top, 1, "top (position)")
        options = parse_parameters(NAME, self.param_str, PARAMETERS)
        self.reduction = int(options["reduction"])

    @reported
    def reshape(self, bottom, top):
        maps, image = tuple(bottom[0].shape), tuple(bottom[1].shape)
        if len(image) != 4 or maps != (image[0], 6, 1, 1):
            raise LayerError(
                f"{NAME}: position maps must be N x 6 x 1 x 1 and the image N x C x H x W, "
                f"not {maps} and {image}"
            )
        top[0].reshape(image[0], 2, *image[2:])

    @reported
    def forward(self, bottom, top):
        maps = bottom[0].data.reshape(-1, 6)
        top[0].data[...] = position_channels(maps, bottom[1].shape[2:], self.reduction)

    @reported
    def backward(self, top, propagate_down, bottom):
        for n in range(len(bottom)):
            if propagate_down[n]:
                bottom[n].diff[...] = 0.0
