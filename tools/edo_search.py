"""Choose the dilations of a trained supernet (EDO) and write the pattern file.

Reads the checkpoint's weights alone: no data set and no GPU are needed.
"""

import argparse
import sys

import torch
from mmengine.registry import MODELS
from rich.console import Console
from rich.progress import Progress

from mmic.analysis.show import pattern_table
from mmic.compat import read_checkpoint
from mmic.engine.config import add_search_arguments, read_config
from mmic.files import check_new, write_file
from mmic.search.checkpoint import (
    common_scope,
    load_wide_weights,
    searched_weights,
    state_dict_of,
    supernet_convs,
)
from mmic.search.edo import LAYOUTS, SPACES, search_network
from mmic.supernet import WideConv2d

# Above this p-value of the chi-square test a layer's choice passes for a uniform draw.
UNIFORM = 0.01


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    add_search_arguments(parser)
    parser.add_argument(
        '--space',
        choices=SPACES,
        default='full',
        help='full: any (d_h, d_w) per output channel; 1d: d_h = d_w; layer: one pair per layer '
        '(paper, Table 9); default: full',
    )
    parser.add_argument(
        '--layout',
        choices=LAYOUTS,
        help="sorted: a dilation's channels together, as in the paper; position: every channel "
        'where it was found, needed to inherit weights; default: sorted, position with '
        '--init-weights',
    )
    parser.add_argument(
        '--init-weights',
        metavar='FILE',
        help="also write the searched network's weights, sliced from the supernet's taps (not in "
        'the paper, which trains it from scratch)',
    )
    args = parser.parse_args()
    if args.init_weights and args.layout == 'sorted':
        parser.error('--init-weights needs --layout position: sorted moves channels around')
    args.layout = args.layout or ('position' if args.init_weights else 'sorted')
    return args


def warn_uniform(reports, console):
    """Name the layers whose choice cannot be told from a uniform draw."""
    names = [report.name for report in reports if report.p_value > UNIFORM]
    if names:
        console.print('Warning:', style='yellow', end=' ')
        console.print(
            f'in {len(names)} of {len(reports)} layers the choice cannot be told from a uniform '
            f'draw (chi-square test, p > {UNIFORM}): {", ".join(names)}. That is what EDO returns '
            'on an untrained or barely trained supernet; in the published patterns of ResNet-50 26 '
            'to 66 % of the channels take (1, 1). Train the supernet longer, or start it from a '
            'trained plain network.'
        )


def main():
    args = parse_args()
    # Names of files and layers are printed as they are, brackets included.
    console = Console(soft_wrap=True, markup=False)
    check_new(args.out, args.overwrite)
    if args.init_weights:
        check_new(args.init_weights, args.overwrite)
    cfg = read_config(args)
    console.print(f'Building the supernet of {args.config}')
    model = MODELS.build(cfg.model)
    convs = supernet_convs(model, WideConv2d, args.scope or '')
    scope = common_scope(convs) if args.scope is None else args.scope
    console.print(f'Reading {args.checkpoint}')
    checkpoint = read_checkpoint(args.checkpoint, args.trust_checkpoint)
    state = state_dict_of(checkpoint, args.checkpoint)
    load_wide_weights(convs, state, args.checkpoint)
    meta = {'config': args.config, 'checkpoint': args.checkpoint}
    with Progress(console=console) as progress:
        task = progress.add_task('EDO', total=len(set(convs.values())))
        pattern, reports = search_network(
            model, args.space, args.layout, scope, meta, lambda _: progress.advance(task)
        )
    left = {report.name: f'{report.error:.3g} of {report.response:.3g}' for report in reports}
    console.print(pattern_table(pattern, error_left=left))
    warn_uniform(reports, console)
    pattern.save(args.out, args.overwrite)
    console.print(f'Wrote {args.out}')
    if args.init_weights:
        prefix = f'{scope}.' if scope else ''
        content = {'state_dict': searched_weights(state, convs, pattern, prefix), 'meta': meta}
        write_file(args.init_weights, lambda name: torch.save(content, name), args.overwrite)
        console.print(f'Wrote {args.init_weights}: use it as load_from')
    console.print(
        f"Use it: in the supernet's config replace d_max by pattern='{args.out}', or pass\n"
        f'  --cfg-options model.{scope or "backbone"}.pattern={args.out}\n'
        "to tools/train.py with the searched network's config. Picture: "
        f'python tools/show_pattern.py {args.out}'
    )


if __name__ == '__main__':
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f'edo_search: {error}')
