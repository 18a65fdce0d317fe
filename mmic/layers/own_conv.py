"""What a convolution of ours does as ``nn.Conv2d`` does, whatever it computes with."""

from typing import Any, Iterator, NoReturn, Optional

import torch
from torch import nn

from mmic.layers.eager import is_proxy, is_traced


class OwnDilation:
    """Stands as ``dilation`` in a convolution that another one cannot be built from.

    Code that fuses batch normalisation, or quantises, builds ``nn.Conv2d(..., conv.dilation)`` and
    copies the weight: a network that silently computes something else. Taken as a number or as a
    pair, this raises instead.

    Args:
        kind: Name of the layer's class.
        what: What a plain convolution would lose.
        value: The dilation of a layer that has one.
    """

    def __init__(self, kind: str, what: str, value: Any = None) -> None:
        self.kind, self.what, self.value = kind, what, value

    def _refuse(self, *_: Any) -> NoReturn:
        raise ValueError(
            f'{self.kind} cannot be rebuilt as a plain convolution from its attributes: '
            f'{self.what} would be lost. Fuse the network with mmic.deploy.fuse(model) first, or '
            'leave this layer out.'
        )

    def __iter__(self) -> Iterator[int]:
        self._refuse()

    __getitem__ = __int__ = __index__ = __float__ = __mul__ = __rmul__ = __add__ = _refuse
    __sub__ = __lt__ = __gt__ = __le__ = __ge__ = _refuse

    def __len__(self) -> int:
        return 2  # what nn.Conv2d's own description asks for

    def __repr__(self) -> str:
        return self.what if self.value is None else str(self.value)


class OwnConv:
    """Mixin before ``nn.Conv2d`` for layers with a computation of their own.

    A layer calls ``keep_built`` at the end of its constructor and has ``_compute``, for batches of
    images. Images without a batch are taken as ``nn.Conv2d`` takes them, and a layer that was
    changed after it was built is refused: what it computes with was made for other shapes.
    """

    def keep_built(self, lost: str) -> None:
        """Remember what the layer was built as.

        Args:
            lost: What a plain convolution of these attributes would lose.
        """
        value = self.dilation
        self.dilation = OwnDilation(type(self).__name__, lost)
        if lost == LOST_FACTOR:
            self.dilation.value = value
        self._built = {name: getattr(self, name) for name in BUILT}
        self._shape = tuple(self.weight.shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, self.weight, self.bias)

    # Also called from outside with other weights, by mmcv's efficient_conv_bn_eval.
    def _conv_forward(
        self, x: torch.Tensor, weight: torch.Tensor, bias: Optional[torch.Tensor]
    ) -> torch.Tensor:
        # Tracers record operators, not what is checked here; for fx a shape is no number.
        if is_proxy(x) or torch.jit.is_tracing():
            return self._compute(x, weight, bias)
        if not is_traced():
            self._check(weight, bias)
        if x.dim() == 3:
            return self._compute(x.unsqueeze(0), weight, bias).squeeze(0)
        return self._compute(x, weight, bias)

    def _check(self, weight: torch.Tensor, bias: Optional[torch.Tensor]) -> None:
        kind = type(self).__name__
        if tuple(weight.shape) != self._shape:
            raise ValueError(
                f'{kind}: the weight has shape {tuple(weight.shape)}, and the layer was built for '
                f'{self._shape}. {CHANGED}'
            )
        if bias is not None and tuple(bias.shape) != self._shape[:1]:
            raise ValueError(
                f'{kind}: the bias has shape {tuple(bias.shape)} for {self._shape[0]} output '
                f'channels. {CHANGED}'
            )
        for name, value in self._built.items():
            if getattr(self, name) is not value and getattr(self, name) != value:
                raise ValueError(
                    f'{kind}: {name} is {getattr(self, name)!r}, and the layer was built with '
                    f'{value!r}. {CHANGED}'
                )


BUILT = (
    'in_channels',
    'out_channels',
    'kernel_size',
    'stride',
    'padding',
    'dilation',
    'groups',
    'padding_mode',
)
CHANGED = 'Build a new layer in place of changing one: prune or convert the plain network first.'
LOST_FACTOR = 'its factor D'


def real_dilation(conv: nn.Conv2d) -> Any:
    """The dilation of a convolution; it raises for a layer that has several."""
    if isinstance(conv.dilation, OwnDilation) and conv.dilation.value is not None:
        return conv.dilation.value
    return conv.dilation
