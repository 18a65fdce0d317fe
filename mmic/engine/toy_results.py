"""What the networks of a comparison score and cost, over its seeds."""

import statistics

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmic.analysis.compare import METRICS, cell, markdown_table, measure_cost, read_metrics
from mmic.engine.toy_compare import NETWORKS, chain_args
from mmic.layers import DOConv2d
from mmic.swap import swap_convs

IMAGE_SIZE = 256  # what the configs resize to


def network_cost(folder, config):
    """Parameters and multiply-adds of a trained network, with DO-Conv folded."""
    cfg = Config.fromfile(folder / config.rpartition('/')[2])
    init_default_scope('mmdet')
    model = swap_convs(
        MODELS.build(cfg.model),
        lambda name, conv: conv.fuse(),
        lambda name, conv: isinstance(conv, DOConv2d),
        known=DOConv2d,
    )
    return measure_cost(model, IMAGE_SIZE)


def seed_results(args, seconds):
    """Read what the networks of each seed score and cost.

    Args:
        args (argparse.Namespace): See ``plan``.
        seconds (dict[str, float]): Of each step, by its name.

    Returns:
        dict[str, dict[int, dict]]: Network to seed to column to value; ``search s`` are the
        seconds of all steps that search for it, the supernet's training among them.
    """
    results = {}
    for name, network in NETWORKS.items():
        results[name] = {}
        for seed in args.seeds:
            folder = chain_args(args, seed).work_dir / name
            search = sum(seconds[f'seed_{seed}/{step}'] for step in network.search)
            results[name][seed] = {
                **read_metrics(folder),
                **network_cost(folder, network.config),
                'search s': round(search, 1),
            }
    return results


def mean_and_std(values):
    """Return the mean and the standard deviation of a sample (divisor n - 1) of numbers.

    Returns:
        tuple[float | None, float | None]: None where a value is None; no deviation of one value.
    """
    if None in values:
        return None, None
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def summary(results):
    """Return ``{network: {column: (mean, standard deviation)}}`` over the seeds."""
    return {
        name: {
            column: mean_and_std([values[column] for values in seeds.values()])
            for column in next(iter(seeds.values()))
        }
        for name, seeds in results.items()
    }


def table(results):
    """Return the rows of the table of means and deviations, the header first.

    Args:
        results (dict): See ``seed_results``.

    Returns:
        list[list[str]]
    """
    means = summary(results)
    rows = [['network', *next(iter(means.values()))]]
    for name, columns in means.items():
        cells = []
        for column, (mean, std) in columns.items():
            text = f'{mean:.0f}' if column == 'search s' else cell(column, mean)
            spread = f' ± {std:.1f}' if column in METRICS and std is not None else ''
            cells.append(text + spread)
        rows.append([NETWORKS[name].title, *cells])
    return rows


def seed_table(results):
    """Return the rows of the table of every seed's scores, the header first."""
    rows = [['network', 'seed', *METRICS]]
    for name, seeds in results.items():
        for seed, values in seeds.items():
            scores = [cell(metric, values[metric]) for metric in METRICS]
            rows.append([NETWORKS[name].title, str(seed), *scores])
    return rows


def report(results):
    """Return both tables as Markdown."""
    return f'{markdown_table(table(results))}\n\n{markdown_table(seed_table(results))}\n'
