"""The supernet convolution of CR-NAS: one dilation of several runs at a time."""

from mmic.supernet.candidates import CandidateConv2d
from mmic.supernet.choice import Choice


class ChoiceConv2d(Choice, CandidateConv2d):
    """Convolution with a choice of dilations, of which one is taken per step.

    Liang et al., "Computation Reallocation for Object Detection", ICLR 2020, section 3.2.2. A
    step costs what the chosen dilation costs; the other candidates get no gradient.

    Args:
        dilations (Sequence[int | Sequence[int]]): The candidates; d means (d, d). Defaults to
            (1, 2, 3), the paper's.
        *args, **kwargs: See ``CandidateConv2d``; weights of its own for each candidate, or one
            with ``share_weights=True``.

    Attributes:
        choices (tuple[int | tuple[int, int]]): The candidates, d for (d, d).
        default (int | tuple[int, int]): 1, or the first candidate where 1 is none.

    Shape:
        Input (N, C_in, H, W), output (N, C_out, H', W') as of the plain convolution.
    """

    def __init__(self, *args, dilations=(1, 2, 3), **kwargs):
        super().__init__(*args, dilations=dilations, **kwargs)
        choices = [h if h == w else (h, w) for h, w in self.candidates]
        self.set_choices(choices, 1 if 1 in choices else choices[0])

    def _compute(self, x):
        return self.convolve(x, self.choices.index(self.choice), self.bias)

    def weights_of(self, choice):
        """State dict of the ``ICConv2d`` that this layer is with a choice."""
        index = self.choices.index(choice)
        state = {'weight': self.weight_of(index).detach()}
        if self.bias is not None:
            state['bias'] = self.bias.detach()
        state['dilations'] = self.dilations[index].repeat(self.out_channels, 1)
        return state
