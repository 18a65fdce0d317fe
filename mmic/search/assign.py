"""Assign output channels to few dilations, in blocks of channels, with the least total error.

EDO lets every channel choose for itself, which leaves dilations with one or three channels: short
convolutions that hardware runs at a fraction of its speed. Here a layer's channels fill blocks
of ``multiple`` channels of one dilation, and at most ``max_dilations`` are used. This is in no
paper.

With the number of blocks of each dilation given, the best assignment is a transportation problem,
which ``scipy.optimize.linear_sum_assignment`` solves. The numbers are found by branch and bound
on a Lagrangian bound: every channel has a price, and each dilation buys the whole blocks that pay
for themselves. The prices at which every channel is bought about once give the bound.
"""

import heapq
import itertools
from typing import NamedTuple

import numpy as np

# Bounds and costs closer than this, relative to the cost, count as equal.
TOLERANCE = 1e-9
# Prices are improved at most so many times in the first node and in the others.
ROOT_STEPS, STEPS = 400, 60


def assign(errors, multiple=1, max_dilations=None):
    """Choose a candidate for each row with the least total error under both constraints.

    The rows fill ``ceil(rows / multiple)`` blocks, each of one candidate: if ``multiple`` divides
    the number of rows, every candidate in use has a multiple of it. Otherwise the blocks are as
    few, and the missing rows may be missing from any of them.

    Args:
        errors (ndarray): Of each row's candidates, finite and not negative, (rows, candidates).
        multiple (int): Rows in a block, from 1 to the number of rows. Defaults to 1.
        max_dilations (int, optional): Candidates in use, at least 1. Defaults to None: any number.

    Returns:
        ndarray: Index of each row's candidate, int64 of shape (rows,). It is optimal to
        ``TOLERANCE``.

    Raises:
        ImportError: scipy is missing.
    """
    errors = np.asarray(errors, dtype=np.float64)
    # Rows that cost nothing anywhere make up for those missing from the last block.
    missing = -len(errors) % multiple
    costs = np.concatenate([errors, np.zeros((missing, errors.shape[1]))]).T
    limit = min(max_dilations or len(costs), len(costs))
    return Assignment(np.ascontiguousarray(costs), multiple, limit).solve()[: len(errors)]


class Relaxed(NamedTuple):
    """What the dilations buy at some prices, and what the bound is then.

    Attributes:
        bound (float): No assignment within the node's ranges costs less.
        blocks (ndarray): Blocks of each dilation, (dilations,).
        bought (ndarray): How often each channel is bought, (channels,).
        totals (ndarray): Cost of 0, 1, ... blocks of each dilation at these prices, infinite
            outside the ranges, (dilations, blocks + 1).
        floors (ndarray): Bound if a dilation had 0, 1, ... blocks, of the same shape.
    """

    bound: float
    blocks: np.ndarray
    bought: np.ndarray
    totals: np.ndarray
    floors: np.ndarray


class Node(NamedTuple):
    """A part of the search: lowest and highest blocks of each dilation, and prices to start at."""

    low: np.ndarray
    high: np.ndarray
    prices: np.ndarray


class Assignment:
    """The problem of one layer.

    Args:
        costs (ndarray): Shape (dilations, channels).
        size (int): Channels of a block; divides the number of channels.
        limit (int): Dilations in use.
    """

    def __init__(self, costs, size, limit):
        self.costs, self.size, self.limit = costs, size, limit
        self.num_blocks = costs.shape[1] // size
        self.best, self.choice, self.tried = np.inf, None, set()

    @property
    def enough(self):
        """Nodes whose bound reaches this are not worth a visit."""
        return self.best * (1 - TOLERANCE)  # errors are not negative

    def solve(self):
        """Return the best assignment's dilation of each channel, (channels,)."""
        low = np.zeros(len(self.costs), dtype=int)
        root = Node(low, low + self.num_blocks, self.costs.min(0))
        queue, number = [], itertools.count()
        self._visit(root, ROOT_STEPS, queue, number)
        while queue and queue[0][0] < self.enough:
            _, _, node, dilation, blocks = heapq.heappop(queue)
            for side in ('high', 'low'):
                part = getattr(node, side).copy()
                part[dilation] = blocks + (side == 'low')
                self._visit(node._replace(**{side: part}), STEPS, queue, number)
        return self.choice

    def _visit(self, node, steps, queue, number):
        """Bound a node; unless that settles it, put it in the queue with where to divide it."""
        node = self._tighten(node)
        if node is None or self._settled_freely(node):
            return
        node, relaxed, mean_blocks, mean_used = self._raise_bound(node, steps)
        if relaxed is None or relaxed.bound >= self.enough:
            return
        self._try_blocks(node, relaxed)
        if (relaxed.bought == 1).all():
            return  # what was bought is an assignment, and it was tried
        kept = relaxed.floors < self.enough
        if not kept.any(1).all():
            return
        high = self.num_blocks - kept[:, ::-1].argmax(1)
        node = self._tighten(node._replace(low=kept.argmax(1), high=high))
        if node is None:
            return
        open_ = node.low < node.high
        if not open_.any():
            self._try(node.low)
            return
        unsure = open_ & (node.low == 0)
        if (node.high > 0).sum() > self.limit and unsure.any():
            dilation = np.where(unsure, abs(mean_used - 0.5), np.inf).argmin()
            blocks = 0
        else:
            dilation = np.where(open_, abs(mean_blocks % 1 - 0.5), np.inf).argmin()
            blocks = int(mean_blocks[dilation])
            blocks = min(max(blocks, node.low[dilation]), node.high[dilation] - 1)
        heapq.heappush(queue, (relaxed.bound, next(number), node, dilation, blocks))

    def _tighten(self, node):
        """Narrow ranges by what the other dilations can take; None if there is no way."""
        low, high = node.low, node.high
        if (low > 0).sum() >= self.limit:
            high = np.where(low > 0, high, 0)
        high = np.minimum(high, self.num_blocks - low.sum() + low)
        most = np.sort(high)[::-1][: self.limit].sum()
        if (high < low).any() or (low > 0).sum() > self.limit or most < self.num_blocks:
            return None
        low = np.maximum(low, self.num_blocks - high.sum() + high)
        return node._replace(low=low, high=high)

    def _settled_freely(self, node):
        """Try every channel's best dilation among the node's; True if that is an assignment."""
        choice = np.where(node.high > 0, self.costs.T, np.inf).argmin(1)
        counts = np.bincount(choice, minlength=len(self.costs))
        blocks = counts // self.size
        fits = (counts % self.size == 0).all() and (counts > 0).sum() <= self.limit
        fits = fits and (blocks >= node.low).all() and (blocks <= node.high).all()
        if fits:
            self._keep(choice)
        return fits

    def _raise_bound(self, node, steps):
        """Improve prices by subgradient steps.

        Returns:
            tuple: The node with the best prices, what they give, or None where nothing is
            possible, and means over the steps: blocks of each dilation, and whether it is used.
        """
        best, best_prices, mean_blocks, mean_used = None, None, 0.0, 0.0
        prices, pace, failures = node.prices, 1.0, 0
        for step in range(steps):
            relaxed = self._relax(prices, node)
            if relaxed is None:
                return node, None, None, None
            weight = max(0.2, 1 / (step + 1))
            mean_blocks = (1 - weight) * mean_blocks + weight * relaxed.blocks
            mean_used = (1 - weight) * mean_used + weight * (relaxed.blocks > 0)
            if best is None or relaxed.bound > best.bound:
                best, best_prices, failures = relaxed, prices, 0
                if step == 0 and self.choice is None:
                    self._try_blocks(node, relaxed)
            else:
                failures += 1
                if failures == 5:
                    pace, failures, relaxed, prices = pace / 2, 0, best, best_prices
            direction = 1 - relaxed.bought
            norm = direction @ direction
            if norm == 0 or best.bound >= self.enough or pace < 0.02:
                break
            gap = (
                self.best if self.choice is not None else 2 * abs(best.bound) + 1
            ) - relaxed.bound
            prices = prices + pace * gap / norm * direction
        return node._replace(prices=best_prices), best, mean_blocks, mean_used

    def _relax(self, prices, node):
        """Let each dilation buy what pays; None if the ranges need too many dilations."""
        reduced = self.costs - prices
        order = reduced.argsort(1)
        blocks = np.take_along_axis(reduced, order, 1)
        blocks = blocks.reshape(len(order), self.num_blocks, self.size).sum(2)
        totals = np.concatenate([np.zeros((len(order), 1)), blocks.cumsum(1)], 1)
        number = np.arange(self.num_blocks + 1)
        outside = (number < node.low[:, None]) | (number > node.high[:, None])
        totals[outside] = np.inf
        chosen = totals.argmin(1)
        value = totals[np.arange(len(order)), chosen]
        # Beyond the limit, those that save least are left out.
        needed = node.low > 0
        rank = np.where(needed, -np.inf, value).argsort(kind='stable')
        rank = [dilation for dilation in rank if chosen[dilation]]
        left, kept = rank[self.limit :], rank[: self.limit]
        if needed[left].any():
            return None
        # What a newcomer pushes out saves so much, and what takes the place of one that goes.
        full = len(kept) == self.limit
        pushed = (-value[kept[-1]] if not needed[kept[-1]] else np.inf) if full else 0.0
        refill = value[left[0]] if left else 0.0
        chosen[left], value[left] = 0, 0.0
        bound = prices.sum() + value.sum()
        floors = bound - value[:, None] + totals
        unused = chosen == 0
        floors[unused, 1:] += pushed
        floors[~unused, 0] += refill
        taken = np.arange(order.shape[1]) < (chosen * self.size)[:, None]
        bought = np.bincount(order[taken], minlength=order.shape[1])
        return Relaxed(bound, chosen, bought, totals, floors)

    def _try_blocks(self, node, relaxed):
        """Repair what was bought so that the blocks are as many as there are, and try it."""
        value = relaxed.totals.min(1)
        value[node.low > 0] = -np.inf
        used = value.argsort(kind='stable')[: self.limit]
        steps = np.full((len(value), self.num_blocks), np.inf)
        lower, upper = relaxed.totals[used, :-1], relaxed.totals[used, 1:]
        inside = np.isfinite(lower) & np.isfinite(upper)
        steps[used] = np.where(inside, upper - np.where(inside, lower, 0), np.inf)
        more = self.num_blocks - node.low.sum()
        cheapest = steps.ravel().argsort(kind='stable')[:more]
        if np.isfinite(steps.ravel()[cheapest]).all():
            extra = np.bincount(cheapest // self.num_blocks, minlength=len(value))
            self._try(node.low + extra)

    def _try(self, blocks):
        """Solve the transportation problem of these numbers of blocks, and keep it if better."""
        if blocks.tobytes() in self.tried:
            return
        self.tried.add(blocks.tobytes())
        if self.size == 1:  # the numbers do not matter, but which dilations are used
            self._keep(np.where(blocks > 0, self.costs.T, np.inf).argmin(1))
            return
        places = np.repeat(np.arange(len(blocks)), blocks * self.size)
        channels, columns = linear_sum_assignment(self.costs[places].T)
        self._keep(places[columns][channels.argsort()])

    def _keep(self, choice):
        cost = self.costs[choice, np.arange(len(choice))].sum()
        if cost < self.best:
            self.best, self.choice = cost, choice


def linear_sum_assignment(costs):
    """scipy's, imported when it is first needed: EDO without constraints does without scipy."""
    try:
        from scipy.optimize import linear_sum_assignment as solve
    except ImportError as error:
        raise ImportError(
            'EDO with a multiple or a limit of dilations needs scipy: pip install scipy'
        ) from error
    return solve(costs)
