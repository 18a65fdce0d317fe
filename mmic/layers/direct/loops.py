"""The innermost loops of the compiled convolutions, in the vectors of the processor.

numba's compiler keeps sums in memory between the steps of an outer loop. Written in its own
intermediate language, they stay in registers: what is left to do for each tap is to multiply and
add, which is what the processor's peak counts.
"""

from numba import types
from numba.extending import intrinsic

from mmic.layers.direct.vectors import FLAGS, INT, WIDE, WIDTH, Code

# Vectors of pixels that are summed up together, by how many outputs are: with both, sums, pixels
# and factors fill the registers, of which there are 32 or 16.
VECTORS = {1: 6, 2: 6, 3: 6, 4: 4, 5: 4} if WIDE else {1: 4, 2: 4, 3: 3, 4: 2, 5: 2}
MOST = max(VECTORS)  # outputs that share the reading of the input
TAPS = 3  # in a row of the kernel
FACTORS = 16  # place for all taps of a read
STEP = 4 * FACTORS  # for each of the four products of ``winograd``
TOGETHER, BLOCK = 2, 4 if WIDE else 2  # outputs and inputs whose gradients are made together
PRODUCTS = 32  # place for all of their taps
LONGEST = WIDTH * max(VECTORS.values())


def convolution(outputs):
    """A row of taps over many input channels, for a few outputs and ``span(outputs)`` pixels.

    Args:
        outputs (int): How many, up to ``MOST``.

    Returns:
        Callable: ``(tiles, reads, begin, end, shift, factors, first, sums, place, pitch)``, for
        numba's functions. ``tiles``: pixels, flat. ``reads``: flat, where each tap of an input
        channel starts in the tiles; the channels from ``begin`` to ``end`` are taken, ``shift``
        pixels further. ``factors``: flat; the taps of a read are found
        ``first`` and ``STEP`` times its number further. ``sums``: flat; the first output is written
        at ``place``, the next ones each ``pitch`` further.
    """
    vectors = VECTORS[outputs]

    @intrinsic
    def write(typing, tiles, reads, begin, end, shift, factors, first, sums, place, pitch):
        def generate(context, builder, signature, values):
            code = Code(context, builder, signature, values)
            tiles, reads, begin, end, shift, factors, first, sums, place, pitch = code.values

            def step(number, totals):
                read = code.times(number, TAPS)
                factor = code.add(code.times(number, STEP), first)
                for tap in range(TAPS):
                    pixel = code.add(code.number(reads, code.add(read, tap)), shift)
                    seen = [code.vector(tiles, code.add(pixel, n * WIDTH)) for n in range(vectors)]
                    for out in range(outputs):
                        place = code.add(factor, out * TAPS + tap)
                        weight = code.spread(code.number(factors, place))
                        for n, vector in enumerate(seen):
                            at = out * vectors + n
                            totals[at] = code.multiply_add(totals[at], vector, weight)
                return totals

            totals = code.loop(begin, end, outputs * vectors, lambda n, t: step(n, list(t)))
            for out in range(outputs):
                for n in range(vectors):
                    code.store(totals[out * vectors + n], sums, code.add(place, n * WIDTH))
                place = code.add(place, pitch)
            return context.get_dummy_value()

        kinds = tiles, reads, begin, end, shift, factors, first, sums, place, pitch
        return types.void(*kinds), generate

    return write


def correlation(outputs, inputs):
    """The gradient of a row of taps: products of outputs' gradients and of input channels.

    Args:
        outputs (int): How many outputs.
        inputs (int): How many input channels.

    Returns:
        Callable: ``(tiles, starts, first, shift, grads, places, distances, vectors, sums, into)``,
        for numba's functions. ``tiles`` and ``grads``: flat. ``starts``: where each input starts in
        the tiles, of which those from ``first`` on are taken, ``shift`` pixels further.
        ``places``: where the gradient stands that belongs to an output's first tap, and
        ``distances`` how much further back that of the next tap is, tuples. The products over
        ``vectors`` vectors are added to the numbers of ``sums``, flat, from ``into`` on: of each
        input, of each output, of each tap.
    """

    @intrinsic
    def write(typing, tiles, starts, first, shift, grads, places, distances, vectors, sums, into):
        def generate(context, builder, signature, values):
            code = Code(context, builder, signature, values)
            tiles, starts, first, shift, grads, places, distances, vectors, sums, into = code.values
            pixels = [
                code.add(code.number(starts, code.add(first, k)), shift) for k in range(inputs)
            ]
            taps = []
            for out in range(outputs):
                place = builder.extract_value(places, out)
                distance = builder.extract_value(distances, out)
                for _ in range(TAPS):
                    taps.append(place)
                    place = builder.sub(place, distance)

            def step(number, totals):
                shift = code.times(number, WIDTH)
                factors = [code.vector(grads, code.add(start, shift)) for start in taps]
                for k, pixel in enumerate(pixels):
                    seen = code.vector(tiles, code.add(pixel, shift))
                    for n, factor in enumerate(factors):
                        at = k * len(factors) + n
                        totals[at] = code.multiply_add(totals[at], seen, factor)
                return totals

            count = inputs * outputs * TAPS
            totals = code.loop(INT(0), vectors, count, lambda n, t: step(n, list(t)))
            for number, total in enumerate(code.totals(totals)):
                at = code.add(into, number * WIDTH)
                total = builder.fadd(code.vector(sums, at), total, flags=FLAGS)
                code.store(total, sums, at)
            return context.get_dummy_value()

        kinds = (
            tiles, starts, first, shift, grads, places, distances, vectors, sums, into,
        )  # fmt: skip
        return types.void(*kinds), generate

    return write


@intrinsic
def transpose(typing, source, place, pitch, result, into, step):
    """Transpose a square of ``WIDTH`` numbers, from rows ``pitch`` apart to rows ``step`` apart."""

    def generate(context, builder, signature, values):
        code = Code(context, builder, signature, values)
        source, place, pitch, result, into, step = code.values
        rows = []
        for _ in range(WIDTH):
            rows.append(code.vector(source, place))
            place = code.add(place, pitch)
        for row in code.transposed(rows):
            code.store(row, result, into)
            into = code.add(into, step)
        return context.get_dummy_value()

    return types.void(source, place, pitch, result, into, step), generate


def span(outputs):
    """Pixels that are summed up together."""
    return VECTORS[outputs] * WIDTH
