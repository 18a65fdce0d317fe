"""The pattern file: which dilation each output channel of each searched convolution has.

Every search writes a ``DilationPattern`` and every searched network reads one. In the
file, dilations are run-length coded in output-channel order, ``[d_h, d_w, count]``::

    {"format": "mmic.pattern", "version": 1, "method": "edo", "scope": "backbone",
     "stage_blocks": [3, 4, 6, 3], "meta": {},
     "layers": {"layer1.0.conv2": {"kernel_size": [3, 3], "in_channels": 64, "groups": 1,
                                   "dilations": [[1, 1, 42], [1, 2, 22]]}}}
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from mmic.files import BadFileError, read_json, write_file
from mmic.layer_pattern import (
    LayerPattern,
    PatternError,
    check_dilations,
    check_keys,
    check_range,
    expect,
    is_integer,
    run_lengths,
)
from mmic.log import print_log
from mmic.published_pattern import read_entry

__all__ = [
    'SORTED_IN_GROUPS',
    'DilationPattern',
    'LayerPattern',
    'PatternError',
    'check_dilations',
    'check_range',
    'is_integer',
    'is_published',
    'run_lengths',
]

FORMAT = 'mmic.pattern'
VERSION = 1
# What ``meta`` of layout 'sorted' says since channels are sorted inside their group only.
SORTED_IN_GROUPS = {'layout': 'sorted', 'sorted_within': 'groups'}
SEARCH_TOOLS = {'edo': 'edo_search.py', 'nats': 'nats_search.py'}


class DilationPattern:
    """The dilations of a network: what a search writes and a searched network reads.

    Args:
        layers (dict[str, LayerPattern]): By module name, relative to ``scope``.
        method (str): What produced it: ``'edo'``, ``'nats'``, ``'cr_nas'``, ``'published'``, or
            the name of a search of your own.
        scope (str): Name of the searched module in its model, ``'backbone'`` for example.
            Defaults to ``''``, the model itself.
        stage_blocks (Sequence[int], optional): Blocks per stage of the network.
        meta (dict, optional): Anything JSON can hold: checkpoint, layout, errors.

    Attributes:
        source (str): The file it was loaded from, for messages.
    """

    def __init__(self, layers, method, scope='', stage_blocks=None, meta=None):
        if not isinstance(layers, Mapping):
            raise PatternError(f'layers: expected LayerPatterns by name, got {layers!r}.')
        if not layers:
            raise PatternError('there are no layers in it.')
        for name, layer in layers.items():
            if not isinstance(name, str):
                raise PatternError(f'layer {name!r}: a name is a string.')
            if not isinstance(layer, LayerPattern):
                raise PatternError(f'layer {name!r}: expected a LayerPattern, got {layer!r}.')
        if not isinstance(method, str) or not isinstance(scope, str):
            raise PatternError(f'method and scope are strings, got {method!r} and {scope!r}.')
        if stage_blocks is not None:
            listed = isinstance(stage_blocks, (list, tuple))
            if not listed or not all(is_integer(count) and count > 0 for count in stage_blocks):
                raise PatternError(
                    f'stage_blocks: expected a list of positive integers, got {stage_blocks!r}.'
                )
        if meta is not None and not isinstance(meta, Mapping):
            raise PatternError(f'meta: expected a dict, got {meta!r}.')
        self.layers = dict(layers)
        self.method = method
        self.scope = scope
        self.stage_blocks = None if stage_blocks is None else list(stage_blocks)
        self.meta = dict(meta or {})
        self.source = 'pattern'

    def __repr__(self):
        return f'DilationPattern({self.method!r}, {len(self.layers)} layers, from {self.source})'

    def save(self, path, overwrite=False):
        """Write the pattern file.

        Args:
            path (str | Path): Missing folders are made.
            overwrite (bool): Whether an existing file may be replaced. Defaults to False.

        Raises:
            FileExistsError: ``path`` exists and ``overwrite`` is False.
            ValueError: ``meta`` holds NaN or infinity, which JSON has no number for.
        """
        head = {'format': FORMAT, 'version': VERSION, 'method': self.method, 'scope': self.scope}
        head.update(stage_blocks=self.stage_blocks, meta=self.meta)
        lines = [
            f' {json.dumps(key)}: {json.dumps(value, allow_nan=False)},'
            for key, value in head.items()
        ]
        layers = [
            f'  {json.dumps(name)}: {json.dumps(layer.to_dict())}'
            for name, layer in self.layers.items()
        ]
        text = '\n'.join(['{', *lines, ' "layers": {', ',\n'.join(layers), ' }', '}', ''])
        write_file(path, lambda name: Path(name).write_text(text), overwrite)

    @classmethod
    def load(cls, path):
        """Read a pattern file.

        A file of layout ``'sorted'`` that was sorted over all groups of a grouped convolution, as
        mmic once did, is read as it is, with a warning in the log.

        Args:
            path (str | Path): A file that a search wrote.

        Raises:
            FileNotFoundError: There is no such file.
            PatternError: It is not a pattern file of this version, or a value in it is
                impossible; the message names the file and the layer.
        """
        data = _read(path)
        try:
            expect(data, dict, 'a pattern file')
            if data.get('format') != FORMAT:
                raise PatternError(f'format is {data.get("format")!r}, expected {FORMAT!r}.')
            if not is_integer(data.get('version')) or data['version'] != VERSION:
                raise PatternError(f'version is {data.get("version")!r}, expected {VERSION}.')
            known = {'format', 'version', 'method', 'layers'}
            check_keys(data, known, {'scope', 'stage_blocks', 'meta'})
            layers = {}
            for name, layer in expect(data['layers'], dict, 'layers').items():
                try:
                    layers[name] = LayerPattern.from_dict(layer)
                except PatternError as error:
                    raise PatternError(f'layer {name!r}: {error}') from None
            blocks = data.get('stage_blocks')
            if blocks is not None:
                expect(blocks, list, 'stage_blocks')
            meta = expect(data.get('meta', {}), dict, 'meta')
            pattern = cls(layers, data['method'], data.get('scope', ''), blocks, meta)
        except PatternError as error:
            raise PatternError(f'{path}: {error}') from None
        pattern.source = str(path)
        pattern._warn_if_mixed({name: layer.groups for name, layer in pattern.layers.items()})
        return pattern

    def _warn_if_mixed(self, groups):
        """Warn where sorting has given dilations to other groups than they were found for.

        Args:
            groups (dict[str, int]): Groups of the layers by name.
        """
        if self.meta.get('layout') != 'sorted' or 'sorted_within' in self.meta:
            return
        mixed = [
            name
            for name, count in groups.items()
            if count > 1 and len(run_lengths(self.layers[name].dilations)) > 1
        ]
        if not mixed:
            return
        more = f' (and {len(mixed) - 1} more)' if len(mixed) > 1 else ''
        tool = SEARCH_TOOLS.get(self.method)
        command = '' if tool is None else f': python tools/{tool} CONFIG CHECKPOINT --out FILE'
        print_log(
            f'{self.source}: layer {mixed[0]!r}{more} has {groups[mixed[0]]} groups, and its '
            'dilations were sorted over all output channels: groups got dilations that were found '
            "for other groups' inputs. The file is used as it is. To have channels stay in their "
            f'group, search again from the same checkpoint{command}',
            logger='current',
            level=logging.WARNING,
        )

    def part(self, names):
        """Take some of the layers, for a network that builds its stages in several places.

        Args:
            names (str): Regular expression; a layer is taken when it matches its name from the
                start, ``'layer4'`` for example.

        Returns:
            DilationPattern

        Raises:
            PatternError: It matches none, or is no regular expression.
        """
        try:
            re.compile(names)
        except (TypeError, re.error) as error:
            raise PatternError(
                f'part: expected a regular expression on layer names, got {names!r}: {error}.'
            ) from None
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
    def from_published(cls, path, layer_names, groups=None):
        """Read a pattern file of the authors of Inception Convolution.

        Such a file is a list, one entry per 3x3 convolution in network order, of
        ``{"(a, b)": count}`` with dilation ``(d_h, d_w) = (a + 1, b + 1)``. It does not tell the
        groups of a layer. Where they are known, the channels are put in the order of one grouped
        convolution, see ``mmic.published_pattern``.

        Args:
            path (str | Path): The published file.
            layer_names (Sequence[str] | dict[str, nn.Conv2d]): The network's searched
                convolutions, in order. Of convolutions, groups and C_in are taken.
            groups (dict[str, int], optional): Groups of layers by name. Defaults to None: those
                of the convolutions, or, where only names are given, not known.

        Raises:
            PatternError: Another form, a number of entries other than of names, or a count that a
                layer's groups do not divide.
        """
        data = _read(path)
        convs = layer_names if isinstance(layer_names, Mapping) else {}
        layer_names = list(layer_names)
        if groups is None:
            groups = {name: conv.groups for name, conv in convs.items()}
        try:
            expect(data, list, 'a published pattern file')
            if len(data) != len(layer_names):
                raise PatternError(
                    f'{len(data)} entries for a network of {len(layer_names)} searched '
                    'convolutions; it belongs to another network.'
                )
            layers = {
                name: read_entry(
                    entry, name, groups.get(name, 1), getattr(convs.get(name), 'in_channels', None)
                )
                for name, entry in zip(layer_names, data)
            }
            known = all(name in groups for name in layer_names)
            meta = dict(SORTED_IN_GROUPS) if known else {'layout': 'sorted'}
            pattern = cls(layers, 'published', meta={**meta, 'file': Path(path).name})
        except PatternError as error:
            raise PatternError(f'{path}: {error}') from None
        pattern.source = str(path)
        return pattern

    def check(self, convs):
        """Raise unless the pattern is for exactly these convolutions.

        Warns in the log where a file that does not tell groups is given to grouped convolutions.

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
        untold = [
            name
            for name, layer in self.layers.items()
            if layer.in_channels is None and layer.groups == 1
        ]
        self._warn_if_mixed({name: convs[name].groups for name in untold})


def is_published(path):
    """Whether a file has the form that the authors published, a list, and not mmic's.

    Raises:
        FileNotFoundError: There is no such file.
        PatternError: It is not JSON.
    """
    return isinstance(_read(path), list)


def _read(path):
    if not isinstance(path, (str, os.PathLike)) or path == '':
        raise PatternError(
            'pattern: expected the path of a pattern file, or a DilationPattern, got '
            f'{path!r} ({type(path).__name__}).'
        )
    if Path(path).is_dir():
        raise PatternError(f'{path} is a folder; name a pattern file in it.')
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
