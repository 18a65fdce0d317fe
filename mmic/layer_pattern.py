"""The pattern of one layer: which dilation each output channel of a convolution has."""

import torch

from mmic.files import BadFileError

# Bounds far above any real network: a wrong file is refused before memory is spent on it.
MAX_CHANNELS = 2**16
MAX_DILATION = 255


class PatternError(BadFileError):
    """A pattern that cannot be used; the message names the file, the layer and the value."""


def is_integer(value):
    """Whether ``value`` is a whole number; ``True`` is not one."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_dilations(dilations, where='dilations'):
    """Return dilations as a LongTensor of shape (C_out, 2), or say what is wrong with them.

    Args:
        dilations (Tensor | Sequence[Sequence[int]]): ``(d_h, d_w)`` per output channel.
        where (str): What the error message calls them. Defaults to ``'dilations'``.

    Raises:
        PatternError: Wrong shape, not integers, or outside 1 to 255.
    """
    if not isinstance(dilations, torch.Tensor):
        if isinstance(dilations, (str, bytes, dict)) or not hasattr(dilations, '__iter__'):
            raise PatternError(f'{where}: expected pairs (d_h, d_w), got {dilations!r}.')
        dilations = list(dilations)
        for pair in dilations:
            good = isinstance(pair, (list, tuple)) and len(pair) == 2
            if not good or not all(is_integer(value) for value in pair):
                raise PatternError(f'{where}: expected pairs of integers (d_h, d_w), got {pair!r}.')
            check_range(pair, where)
        # On the CPU whatever the default device is: the values are read here.
        dilations = torch.tensor(dilations, dtype=torch.long, device='cpu').reshape(-1, 2)
    if dilations.is_floating_point() or dilations.dtype == torch.bool or dilations.is_complex():
        raise PatternError(f'{where}: expected an integer tensor, got {dilations.dtype}.')
    if dilations.ndim != 2 or dilations.shape[1] != 2 or len(dilations) == 0:
        raise PatternError(f'{where}: expected shape (C_out, 2), got {tuple(dilations.shape)}.')
    # On the meta device there are no values to look at.
    if not dilations.is_meta:
        check_range((dilations.min().item(), dilations.max().item()), where)
    return dilations.long()


def check_range(values, where):
    """Raise unless all values are dilations, 1 to 255."""
    for value in values:
        if not 1 <= value <= MAX_DILATION:
            raise PatternError(f'{where}: a dilation is from 1 to {MAX_DILATION}, got {value}.')


def run_lengths(dilations):
    """Code dilations of shape (C_out, 2) as ``[[d_h, d_w, count], ...]`` in channel order."""
    values, counts = torch.unique_consecutive(dilations, dim=0, return_counts=True)
    return [[*pair, count] for pair, count in zip(values.tolist(), counts.tolist())]


def check_kernel_size(kernel_size):
    """Return a searched kernel's size as a tuple, or say what is wrong with it.

    Args:
        kernel_size (Sequence[int]): Height and width.

    Raises:
        PatternError: Not two integers, not square, even, or 1x1, which has no dilation.
    """
    listed = isinstance(kernel_size, (list, tuple))
    sizes = tuple(kernel_size) if listed else ()
    if len(sizes) != 2 or not all(is_integer(size) and size > 0 for size in sizes):
        raise PatternError(f'kernel_size: expected two positive integers, got {kernel_size!r}.')
    if sizes[0] != sizes[1] or sizes[0] % 2 == 0 or sizes[0] == 1:
        raise PatternError(
            'kernel_size: dilations are chosen for square kernels of odd size from 3 up, got '
            f'{kernel_size!r}.'
        )
    return sizes


class LayerPattern:
    """The dilations of one convolution.

    Args:
        dilations (Tensor | Sequence): ``(d_h, d_w)`` of each output channel, shape (C_out, 2).
        kernel_size (tuple[int, int]): Of the searched convolution: square, of odd size from 3 up,
            as dilations are counted from its middle. Defaults to (3, 3).
        in_channels (int, optional): C_in of the convolution. Defaults to None: not known, as
            in published pattern files; then groups are not compared with a network's either.
        groups (int): Groups of the convolution. Defaults to 1.

    Raises:
        PatternError: Impossible dilations, another kernel, or channels that groups do not divide.
    """

    def __init__(self, dilations, kernel_size=(3, 3), in_channels=None, groups=1):
        self.dilations = check_dilations(dilations)
        self.kernel_size = check_kernel_size(kernel_size)
        self.in_channels = in_channels
        self.groups = groups
        if not is_integer(groups) or groups < 1:
            raise PatternError(f'groups: expected a positive integer, got {groups!r}.')
        if in_channels is not None and (not is_integer(in_channels) or in_channels < 1):
            raise PatternError(f'in_channels: expected a positive integer, got {in_channels!r}.')
        for label, channels in (('output', self.out_channels), ('input', in_channels)):
            if channels is not None and channels % groups:
                raise PatternError(f'{channels} {label} channels do not divide by {groups} groups.')

    @property
    def out_channels(self):
        return len(self.dilations)

    def __eq__(self, other):
        return isinstance(other, LayerPattern) and self.to_dict() == other.to_dict()

    __hash__ = None

    def __repr__(self):
        return f'LayerPattern({self.to_dict()})'

    def to_dict(self):
        """Return the layer as it stands in the file."""
        return {
            'kernel_size': list(self.kernel_size),
            'in_channels': self.in_channels,
            'groups': self.groups,
            'dilations': run_lengths(self.dilations.cpu()),
        }

    @classmethod
    def from_dict(cls, data):
        """Build a layer from its form in the file. Raises PatternError as the class does."""
        expect(data, dict, 'a layer')
        check_keys(data, {'dilations'}, {'kernel_size', 'in_channels', 'groups'})
        expect(data['dilations'], list, 'dilations')
        pairs = []
        for run in data['dilations']:
            if not isinstance(run, list) or len(run) != 3 or not all(map(is_integer, run)):
                raise PatternError(f'expected integers [d_h, d_w, count], got {run!r}.')
            check_range(run[:2], f'dilations {run}')
            if run[2] < 1 or len(pairs) + run[2] > MAX_CHANNELS:
                raise PatternError(
                    f'dilations {run}: a count is at least 1 and a layer has at most '
                    f'{MAX_CHANNELS} channels.'
                )
            pairs += [run[:2]] * run[2]
        kernel_size = expect(data.get('kernel_size', [3, 3]), list, 'kernel_size')
        return cls(pairs, kernel_size, data.get('in_channels'), data.get('groups', 1))


def expect(value, kind, label):
    if not isinstance(value, kind):
        names = {dict: 'an object', list: 'a list'}
        raise PatternError(f'{label}: expected {names[kind]}, got {type(value).__name__}.')
    return value


def check_keys(data, required, optional):
    for key in sorted(required - data.keys()):
        raise PatternError(f'key {key!r} is missing.')
    for key in sorted(data.keys() - required - optional):
        raise PatternError(f'unknown key {key!r}; known are {sorted(required | optional)}.')
