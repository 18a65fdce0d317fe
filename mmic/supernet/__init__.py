"""Convolutions to search with. They need torch and mmengine."""

from mmic.supernet.choice_conv import ChoiceConv2d
from mmic.supernet.mixed_conv import MixedConv2d
from mmic.supernet.stage_branches import StageBranches
from mmic.supernet.wide_conv import WideConv2d

__all__ = ['ChoiceConv2d', 'MixedConv2d', 'StageBranches', 'WideConv2d']
