"""Parameters and multiply-accumulates of a network, counted without data.

The network runs once on meta tensors, which have shapes but no values: no data set is read, and
no image is computed. A convolution or linear layer counts one multiply-accumulate (MAC) for each
weight that it applies at each output. Batch normalisation, activations, biases, pooling, RoIAlign
and products of two activations, as in attention, are left out.
"""

import copy
import math
from collections import Counter
from typing import List, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from mmic.analysis.compositions import composition_macs
from mmic.analysis.image import image_channels
from mmic.layers import DOConv2d
from mmic.layers.base_conv import build_like
from mmic.pattern import is_integer
from mmic.supernet import ChoiceConv2d, MixedConv2d

COUNTED = (_ConvNd, nn.Linear, ChoiceConv2d, MixedConv2d)


class Complexity(NamedTuple):
    """What a network holds and what one image costs.

    Attributes:
        parameters (Counter[str]): Number of parameters of each part, frozen ones included.
        macs (Counter[str]): Multiply-accumulates of each part for one image.
        not_run (list[str]): Convolutions and linear layers that the forward pass did not call,
            so that they are missing in ``macs``.
        compositions (Counter[str]): Multiply-accumulates of the whole network in training, one
            image a step, where DO-Conv is computed by ``feature`` and by ``kernel`` composition;
            ``macs`` has it folded. Empty without DO-Conv.
    """

    parameters: Counter
    macs: Counter
    not_run: List[str]
    compositions: Counter

    @property
    def total_parameters(self):
        return sum(self.parameters.values())

    @property
    def total_macs(self):
        return sum(self.macs.values())


def layer_macs(layer, x, output):
    """Count the multiply-accumulates of one call of a layer.

    A layer of several dilations counts as the plain convolution of its shape, in whatever form
    it is computed, and ``DOConv2d`` as the convolution that it folds into. Of the supernet
    layers, ``WideConv2d`` counts its whole kernel, ``MixedConv2d`` one convolution for each
    candidate, ``ChoiceConv2d`` the candidate that it takes.

    Args:
        layer (nn.Module): A convolution, a linear layer, or a supernet layer.
        x (Tensor): Its input.
        output (Tensor): Its output.

    Returns:
        int
    """
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    taps = math.prod(layer.kernel_size)
    if isinstance(layer, _ConvTransposeNd):
        return x.numel() * layer.out_channels // layer.groups * taps
    convolutions = len(layer.candidates) if isinstance(layer, MixedConv2d) else 1
    return convolutions * output.numel() * (layer.in_channels // layer.groups) * taps


def count_complexity(model, shape, proposals=2000, detections=100):
    """Count a network's parameters and the multiply-accumulates of one image.

    Of a two-stage detector, backbone, neck and RPN run on the image and the RoI heads on
    features of RoIs: each box head, one a stage in a cascade, on ``proposals`` of them, each
    mask head on ``detections``. Any other model runs its own forward pass.

    Args:
        model (nn.Module): A detector, classifier, pose estimator or backbone; it is left as it
            is.
        shape (Sequence[int]): Height and width of the image as the backbone gets it.
        proposals (int): RoIs of the second stage. Defaults to 2000, with which the numbers of
            CR-NAS (ICLR 2020, Table 1) agree; mmdet's configs test with 1000.
        detections (int): RoIs that get a mask. Defaults to 100, the most that COCO counts.

    Returns:
        Complexity: By child of the model; ``roi_head`` by child of its own.

    Raises:
        ValueError: An impossible shape or number, or a network that cannot run on this shape or
            without values; the message names the layer.
    """
    check_numbers(shape, proposals, detections)
    model = copy.deepcopy(model).to('meta')
    model.eval()
    parameters, macs, added, entered = Counter(), Counter(), Counter(), ['']
    for name, parameter in model.named_parameters():
        parameters[part_of(name)] += parameter.numel()
    not_run = {name for name, module in model.named_modules() if isinstance(module, COUNTED)}

    def watch(name, module):
        def count(layer, inputs, output):
            folded = layer_macs(layer, inputs[0], output)
            macs[part_of(name)] += folded
            not_run.discard(name)
            if isinstance(layer, DOConv2d):
                for kind, cost in composition_macs(layer, output).items():
                    added[kind] += cost - folded

        module.register_forward_pre_hook(lambda *_: entered.append(name))
        if isinstance(module, COUNTED):
            module.register_forward_hook(count)
        # What it folds into; its own forward pass sets autocast, which meta tensors do not have.
        if isinstance(module, DOConv2d):
            module.forward = build_like(nn.Conv2d, module).forward

    for name, module in model.named_modules():
        watch(name, module)
    image = torch.empty(1, image_channels(model), *shape, device='meta')
    try:
        with torch.no_grad():
            run(model, image, proposals, detections)
    # Whatever a network's code meets that an image of this size or without values breaks.
    except Exception as error:
        raise ValueError(
            f'{type(model).__name__} cannot be run on an image of {shape[0]} x {shape[1]} without '
            f'values; the last layer it entered is {entered[-1]!r}. '
            f'{type(error).__name__}: {error}'
        ) from error
    total = sum(macs.values())
    compositions = Counter({kind: total + cost for kind, cost in added.items()})
    return Complexity(parameters, macs, sorted(not_run), compositions)


def check_numbers(shape, proposals=2000, detections=100):
    """Raise ValueError unless ``count_complexity`` can use these numbers."""
    if len(shape) != 2 or not all(is_integer(side) and side > 0 for side in shape):
        raise ValueError(f'shape is the height and width of the image in pixels, got {shape}.')
    for label, value in (('proposals', proposals), ('detections', detections)):
        if not is_integer(value) or value < 0:
            raise ValueError(f'{label} must be a whole number from 0 up, got {value!r}.')


def part_of(name):
    """The part of a network that a layer or parameter belongs to, for the table."""
    parts = name.split('.')
    return '.'.join(parts[: 2 if parts[0] == 'roi_head' else 1])


def run(model, image, proposals, detections):
    """Run everything that an image passes on its way to the outputs, but no post-processing."""
    if hasattr(model, 'roi_head'):
        features = model.extract_feat(image)
        if model.with_rpn:
            model.rpn_head(features)
        run_roi_head(model.roi_head, features, proposals, detections)
    elif isinstance(model, BaseModel):
        model(image, None, mode='tensor')
    else:
        model(image)


def run_roi_head(head, features, proposals, detections):
    """Run the box heads on ``proposals`` RoIs and the mask heads on ``detections``.

    Which RoIs depends on values, what their features cost does not.
    """
    for module in head.modules():
        if hasattr(module, 'roi_layers'):
            module.forward = roi_features(module)
    # A cascade's methods take the number of the stage first.
    stages = [(stage,) for stage in range(head.num_stages)] if hasattr(head, 'num_stages') else [()]
    for stage in stages:
        head._bbox_forward(*stage, features, image_rois(proposals))
        if head.with_mask:
            head._mask_forward(*stage, features, image_rois(detections))


def image_rois(count):
    return torch.empty(count, 5, device='meta')


def roi_features(extractor):
    """What stands for a RoI extractor: features of the right shape for as many RoIs."""
    size = extractor.roi_layers[0].output_size

    def forward(features, rois, *args, **kwargs):
        return features[0].new_empty(len(rois), extractor.out_channels, *size)

    return forward
