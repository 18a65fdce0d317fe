"""Rank correlation of two measures of the same networks."""

from typing import Sequence, Tuple

LEAST = 3


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Tuple[float, float]:
    """Compute Kendall's tau (b, which allows ties) and Spearman's rho.

    Args:
        first (Sequence[float]): A measure of each network.
        second (Sequence[float]): Another one, of the same networks in the same order.

    Returns:
        tuple[float, float]: From -1 to 1; NaN where one of the measures is constant.

    Raises:
        ValueError: Different numbers of networks, or fewer than 3.
        ImportError: scipy is missing.
    """
    if len(first) != len(second) or len(first) < LEAST:
        raise ValueError(
            f'expected both measures of at least {LEAST} networks, got {len(first)} and '
            f'{len(second)}.'
        )
    try:
        from scipy.stats import kendalltau, spearmanr
    except ImportError:
        raise ImportError('rank correlation needs scipy: pip install scipy') from None
    # scipy warns about constant measures, and its result says it.
    if len(set(first)) == 1 or len(set(second)) == 1:
        return float('nan'), float('nan')
    return float(kendalltau(first, second)[0]), float(spearmanr(first, second)[0])
