"""The supernet stage of CR-NAS: branches of different lengths, of which one runs at a time."""

import itertools

from mmengine.model import BaseModule, ModuleDict

from mmic.supernet.choice import Choice


class StageBranches(Choice, BaseModule):
    """Stage with a choice of how many blocks it has.

    Liang et al., "Computation Reallocation for Object Detection", ICLR 2020, section 3.2.1 and
    Figure 2. A step costs what the chosen branch costs; the others get no gradient.

    Args:
        lengths (Sequence[int]): Numbers of blocks to choose from.
        build (Callable[[int], nn.Sequential]): Builds a stage of so many blocks.
        default (int): Blocks of the plain network's stage.
        share_prefix (bool): Keep one branch, the longest, of which the first blocks run.
            Defaults to False: each length has weights of its own, as the figure draws it.

    Attributes:
        branches (ModuleDict): Stages by length; the longest alone with ``share_prefix``.

    Raises:
        ValueError: ``default`` is not among ``lengths``.

    Shape:
        As of the stages that ``build`` makes.
    """

    def __init__(self, lengths, build, default, share_prefix=False):
        super().__init__()
        self.set_choices(lengths, default)
        self.share_prefix = share_prefix
        kept = [max(lengths)] if share_prefix else lengths
        # mmengine's ModuleDict lets the blocks' own initialisation be reached.
        self.branches = ModuleDict({str(length): build(length) for length in kept})

    def branch_of(self, length):
        """The stage whose first ``length`` blocks run when this is the choice."""
        return self.branches[str(max(self.choices) if self.share_prefix else length)]

    def forward(self, x):
        for block in itertools.islice(self.branch_of(self.choice), self.choice):
            x = block(x)
        return x

    def weights_of(self, choice):
        """State dict of the stage of ``choice`` blocks."""
        state = self.branch_of(choice).state_dict()
        return {
            name: value for name, value in state.items() if int(name.partition('.')[0]) < choice
        }

    def extra_repr(self):
        return f'choices={self.choices}, share_prefix={self.share_prefix}'
