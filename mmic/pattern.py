"""The pattern file: which dilation each output channel of each searched convolution has.

Every search writes a ``DilationPattern`` and every searched network reads one. In the
file, dilations are run-length coded in output-channel order, ``[d_h, d_w, count]``::

    {"format": "mmic.pattern", "version": 1, "method": "edo", "scope": "backbone",
     "stage_blocks": [3, 4, 6, 3], "meta": {},
     "layers": {"layer1.0.conv2": {"kernel_size": [3, 3], "in_channels": 64, "groups": 1,
                                   "dilations": [[1, 1, 42], [1, 2, 22]]}}}
"""

import json
import re
from pathlib import Path

import torch

from mmic.files import BadFileError, read_json, write_file

FORMAT = 'mmic.pattern'
VERSION = 1
# Bounds far above any real network: a wrong file is refused before memory is spent on it.
MAX_CHANNELS = 2**16
MAX_DILATION = 255
PUBLISHED_KEY = re.compile(r'^\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)$')


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


class LayerPattern:
    """The dilations of one convolution.

    Args:
        dilations (Tensor | Sequence): ``(d_h, d_w)`` of each output channel, shape (C_out, 2).
        kernel_size (tuple[int, int]): Of the searched convolution. Defaults to (3, 3).
        in_channels (int, optional): C_in of the convolution. Defaults to None: not known, as
            in published pattern files; then groups are not compared with a network's either.
        groups (int): Groups of the convolution. Defaults to 1.

    Raises:
        PatternError: Impossible dilations, or channels that groups do not divide.
    """

    def __init__(self, dilations, kernel_size=(3, 3), in_channels=None, groups=1):
        self.dilations = check_dilations(dilations)
        self.kernel_size = tuple(kernel_size)
        self.in_channels = in_channels
        self.groups = groups
        sizes = self.kernel_size
        if len(sizes) != 2 or not all(is_integer(size) and size > 0 for size in sizes):
            raise PatternError(f'kernel_size: expected two positive integers, got {kernel_size!r}.')
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
        _expect(data, dict, 'a layer')
        _check_keys(data, {'dilations'}, {'kernel_size', 'in_channels', 'groups'})
        _expect(data['dilations'], list, 'dilations')
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
        kernel_size = _expect(data.get('kernel_size', [3, 3]), list, 'kernel_size')
        return cls(pairs, kernel_size, data.get('in_channels'), data.get('groups', 1))


class DilationPattern:
    """The dilations of a network: what a search writes and a searched network reads.

    Args:
        layers (dict[str, LayerPattern]): By module name, relative to ``scope``.
        method (str): What produced it: ``'edo'``, ``'nats'``, ``'cr_nas'``, ``'published'``.
        scope (str): Name of the searched module in its model, ``'backbone'`` for example.
            Defaults to ``''``, the model itself.
        stage_blocks (Sequence[int], optional): Blocks per stage of the network.
        meta (dict, optional): Anything JSON can hold: checkpoint, layout, errors.

    Attributes:
        source (str): The file it was loaded from, for messages.
    """

    def __init__(self, layers, method, scope='', stage_blocks=None, meta=None):
        self.layers = dict(layers)
        self.method = method
        self.scope = scope
        self.stage_blocks = None if stage_blocks is None else list(stage_blocks)
        self.meta = dict(meta or {})
        self.source = 'pattern'
        if not self.layers:
            raise PatternError('there are no layers in it.')
        for name, layer in self.layers.items():
            if not isinstance(layer, LayerPattern):
                raise PatternError(f'layer {name!r}: expected a LayerPattern, got {layer!r}.')
        blocks = self.stage_blocks
        if blocks is not None and not all(is_integer(count) and count > 0 for count in blocks):
            raise PatternError(f'stage_blocks: expected positive integers, got {blocks!r}.')
        if not isinstance(method, str) or not isinstance(scope, str):
            raise PatternError(f'method and scope are strings, got {method!r} and {scope!r}.')

    def __repr__(self):
        return f'DilationPattern({self.method!r}, {len(self.layers)} layers, from {self.source})'

    def save(self, path, overwrite=False):
        """Write the pattern file.

        Args:
            path (str | Path): Missing folders are made.
            overwrite (bool): Whether an existing file may be replaced. Defaults to False.

        Raises:
            FileExistsError: ``path`` exists and ``overwrite`` is False.
        """
        head = {'format': FORMAT, 'version': VERSION, 'method': self.method, 'scope': self.scope}
        head.update(stage_blocks=self.stage_blocks, meta=self.meta)
        lines = [f' {json.dumps(key)}: {json.dumps(value)},' for key, value in head.items()]
        layers = [
            f'  {json.dumps(name)}: {json.dumps(layer.to_dict())}'
            for name, layer in self.layers.items()
        ]
        text = '\n'.join(['{', *lines, ' "layers": {', ',\n'.join(layers), ' }', '}', ''])
        write_file(path, lambda name: Path(name).write_text(text), overwrite)

    @classmethod
    def load(cls, path):
        """Read a pattern file.

        Args:
            path (str | Path): A file that a search wrote.

        Raises:
            FileNotFoundError: There is no such file.
            PatternError: It is not a pattern file of this version, or a value in it is
                impossible; the message names the file and the layer.
        """
        data = _read(path)
        try:
            _expect(data, dict, 'a pattern file')
            if data.get('format') != FORMAT:
                raise PatternError(f'format is {data.get("format")!r}, expected {FORMAT!r}.')
            if not is_integer(data.get('version')) or data['version'] != VERSION:
                raise PatternError(f'version is {data.get("version")!r}, expected {VERSION}.')
            known = {'format', 'version', 'method', 'layers'}
            _check_keys(data, known, {'scope', 'stage_blocks', 'meta'})
            layers = {}
            for name, layer in _expect(data['layers'], dict, 'layers').items():
                try:
                    layers[name] = LayerPattern.from_dict(layer)
                except PatternError as error:
                    raise PatternError(f'layer {name!r}: {error}') from None
            blocks = data.get('stage_blocks')
            if blocks is not None:
                _expect(blocks, list, 'stage_blocks')
            meta = _expect(data.get('meta', {}), dict, 'meta')
            pattern = cls(layers, data['method'], data.get('scope', ''), blocks, meta)
        except PatternError as error:
            raise PatternError(f'{path}: {error}') from None
        pattern.source = str(path)
        return pattern

    def part(self, names):
        """Take some of the layers, for a network that builds its stages in several places.

        Args:
            names (str): Regular expression; a layer is taken when it matches its name from the
                start, ``'layer4'`` for example.

        Returns:
            DilationPattern

        Raises:
            PatternError: It matches none.
        """
        layers = {name: layer for name, layer in self.layers.items() if re.match(names, name)}
        if not layers:
            raise PatternError(
                f'{self.source}: part {names!r} matches none of its {len(self.layers)} layers, '
                f'{next(iter(self.layers))!r} and so on.'
            )
        part = DilationPattern(layers, self.method, self.scope, self.stage_blocks, self.meta)
        part.source = self.source
        return part

    @classmethod
    def from_published(cls, path, layer_names):
        """Read a pattern file of the authors of Inception Convolution.

        Such a file is a list, one entry per 3x3 convolution in network order, of
        ``{"(a, b)": count}`` with dilation ``(d_h, d_w) = (a + 1, b + 1)``.

        Args:
            path (str | Path): The published file.
            layer_names (Sequence[str]): The network's searched convolutions, in order.

        Raises:
            PatternError: Another form, or a number of entries other than of names.
        """
        data = _read(path)
        layer_names = list(layer_names)
        try:
            _expect(data, list, 'a published pattern file')
            if len(data) != len(layer_names):
                raise PatternError(
                    f'{len(data)} entries for a network of {len(layer_names)} searched '
                    'convolutions; it belongs to another network.'
                )
            layers = {
                name: LayerPattern(_published_pairs(entry, name))
                for name, entry in zip(layer_names, data)
            }
            meta = {'layout': 'sorted', 'file': Path(path).name}
            pattern = cls(layers, 'published', meta=meta)
        except PatternError as error:
            raise PatternError(f'{path}: {error}') from None
        pattern.source = str(path)
        return pattern

    def check(self, convs):
        """Raise unless the pattern is for exactly these convolutions.

        Args:
            convs (dict[str, nn.Conv2d]): The network's searched convolutions by name.

        Raises:
            PatternError: A layer too many or too few, or of another shape.
        """
        unknown = [name for name in self.layers if name not in convs]
        missing = [name for name in convs if name not in self.layers]
        if unknown or missing:
            told = []
            if unknown:
                told.append(f'layer {unknown[0]!r} of the file is not in the network')
            if missing:
                told.append(f'searched convolution {missing[0]!r} is not in the file')
            raise PatternError(
                f'{self.source}: {" and ".join(told)}; the file has {len(self.layers)} layers '
                f'(stage_blocks {self.stage_blocks}), the network {len(convs)} searched '
                'convolutions. Was the pattern searched on another network?'
            )
        for name, conv in convs.items():
            layer = self.layers[name]
            pairs = [('output channels', layer.out_channels, conv.out_channels)]
            pairs.append(('kernel_size', layer.kernel_size, tuple(conv.kernel_size)))
            if layer.in_channels is not None:
                pairs.append(('in_channels', layer.in_channels, conv.in_channels))
                pairs.append(('groups', layer.groups, conv.groups))
            for label, filed, built in pairs:
                if filed != built:
                    raise PatternError(
                        f'{self.source}: layer {name!r}: {label} is {filed} in the file '
                        f'(counts included) and {built} in the network.'
                    )


def is_published(path):
    """Whether a file has the form that the authors published, a list, and not mmic's.

    Raises:
        FileNotFoundError: There is no such file.
        PatternError: It is not JSON.
    """
    return isinstance(_read(path), list)


def _read(path):
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'There is no pattern file {path}. A search writes it: '
            'python tools/edo_search.py (or nats_search.py, cr_search.py) CONFIG CHECKPOINT '
            '--out FILE'
        )
    try:
        return read_json(path)
    except BadFileError as error:
        raise PatternError(str(error)) from None


def _expect(value, kind, label):
    if not isinstance(value, kind):
        names = {dict: 'an object', list: 'a list'}
        raise PatternError(f'{label}: expected {names[kind]}, got {type(value).__name__}.')
    return value


def _check_keys(data, required, optional):
    for key in sorted(required - data.keys()):
        raise PatternError(f'key {key!r} is missing.')
    for key in sorted(data.keys() - required - optional):
        raise PatternError(f'unknown key {key!r}; known are {sorted(required | optional)}.')


def _published_pairs(entry, name):
    _expect(entry, dict, f'layer {name!r}')
    pairs = []
    for key, count in entry.items():
        match = PUBLISHED_KEY.match(key)
        if not match:
            raise PatternError(f'layer {name!r}: expected a key like "(0, 1)", got {key!r}.')
        pair = [int(match[1]) + 1, int(match[2]) + 1]
        check_range(pair, f'layer {name!r}')
        if not is_integer(count) or count < 0 or len(pairs) + count > MAX_CHANNELS:
            raise PatternError(f'layer {name!r}: {key!r} has impossible count {count!r}.')
        pairs += [pair] * count
    return pairs
