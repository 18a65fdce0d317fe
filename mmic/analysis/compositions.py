"""What DO-Conv costs in training, by either of the two ways to compute it."""

from typing import Dict

from torch import Tensor

from mmic.layers import DOConv2d


def composition_macs(layer: DOConv2d, output: Tensor) -> Dict[str, int]:
    """Count the multiply-accumulates of one call by feature and by kernel composition.

    Cao et al., TIP 2022, section 3, "Training efficiency and composition choice of DO-Conv", for
    M x N taps and an output of H x W, which at stride 1 is the size of the input as well:

    - feature composition: D_mul * MN * C_in * H * W for P' = D o P, and
      C_out * C_in / groups * H * W * D_mul for W * P', both for each image;
    - kernel composition: D_mul * MN * C_in / groups * C_out for W', once for all images, and
      C_out * C_in / groups * H * W * MN for W' * P, for each image.

    The paper writes groups = 1; in DO-GConv and DO-DConv an output channel reads C_in / groups.

    Args:
        layer (DOConv2d): The layer.
        output (Tensor): Its output, of one or more images; only its shape counts.

    Returns:
        dict[str, int]: ``feature`` and ``kernel``.
    """
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    pairs = layer.out_channels * layer.in_channels // layer.groups
    places = output.numel() // layer.out_channels
    return dict(
        feature=layer.d_mul * (taps * layer.in_channels + pairs) * places,
        kernel=pairs * taps * (layer.d_mul + places),
    )
