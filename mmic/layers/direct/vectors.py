"""The innermost loops of ``winograd``, in the vectors of the processor.

numba's compiler keeps sums in memory between the steps of an outer loop. Written in its own
intermediate language, they stay in registers: what is left to do for each tap is to multiply and
add, which is what the processor's peak counts.
"""

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

WIDE = binding.get_host_cpu_features().get('avx512f', False)
WIDTH = 16 if WIDE else 8  # numbers in a vector
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
# Not all of it: NaN and infinity have to stay what they are.
FLAGS = 'contract', 'reassoc', 'nsz'

INT, VECTOR = ir.IntType(64), ir.VectorType(ir.FloatType(), WIDTH)
ZERO = ir.Constant(VECTOR, [0.0] * WIDTH)


class Code:
    """What both loops write: addresses in arrays, vectors from there, products."""

    def __init__(self, context, builder, signature, values):
        self.builder = builder
        self.values = [
            context.make_array(kind)(context, builder, value).data
            if isinstance(kind, types.Array)
            else value
            for kind, value in zip(signature.args, values)
        ]

    def add(self, *terms):
        total = terms[0]
        for term in terms[1:]:
            total = self.builder.add(total, INT(term) if isinstance(term, int) else term)
        return total

    def times(self, value, count):
        return self.builder.mul(value, INT(count))

    def number(self, array, place):
        return self.builder.load(self.builder.gep(array, [place]))

    def _address(self, array, place):
        address = self.builder.gep(array, [place])
        return self.builder.bitcast(address, VECTOR.as_pointer())

    def vector(self, array, place):
        loaded = self.builder.load(self._address(array, place))
        loaded.align = 4
        return loaded

    def store(self, vector, array, place):
        self.builder.store(vector, self._address(array, place)).align = 4

    def spread(self, number):
        first = self.builder.insert_element(ZERO, number, ir.IntType(32)(0))
        return self.mix(first, ZERO, [0] * WIDTH)

    def mix(self, a, b, lanes):
        """The lanes of two vectors, ``b``'s counted on from the end of ``a``'s."""
        kind = ir.VectorType(ir.IntType(32), WIDTH)
        return self.builder.shuffle_vector(a, b, ir.Constant(kind, lanes))

    def multiply_add(self, total, a, b):
        product = self.builder.fmul(a, b, flags=FLAGS)
        return self.builder.fadd(total, product, flags=FLAGS)

    def totals(self, vectors):
        """Vectors of the sums over each of ``vectors``, in their order, zeros at the end."""
        vectors = vectors + [ZERO] * (-len(vectors) % WIDTH)
        part = WIDTH
        while part > 1:
            # Each vector has parts of several sums; the halves of a part are added.
            part //= 2
            low = [lane for lane in range(2 * WIDTH) if not lane // part % 2]
            high = [lane + part for lane in low]
            vectors = [
                self.builder.fadd(self.mix(a, b, low), self.mix(a, b, high), flags=FLAGS)
                for a, b in zip(vectors[::2], vectors[1::2])
            ]
        return vectors

    def transposed(self, rows):
        """Lane i of row k comes to lane k of row i."""
        rows, size = list(rows), WIDTH // 2
        lanes = range(WIDTH)
        while size:
            # Blocks beside the diagonal change places.
            upper = [lane if not lane & size else WIDTH + lane - size for lane in lanes]
            lower = [lane + size if not lane & size else WIDTH + lane for lane in lanes]
            for row in range(WIDTH):
                if not row & size:
                    a, b = rows[row], rows[row + size]
                    rows[row], rows[row + size] = self.mix(a, b, upper), self.mix(a, b, lower)
            size //= 2
        return rows

    def loop(self, begin, end, sums, body):
        """Vectors that grow from zero in each step; ``body`` gives them new ones."""
        before, builder = self.builder.block, self.builder
        head = builder.append_basic_block('step')
        after = builder.append_basic_block('after')
        builder.branch(head)
        builder.position_at_end(head)
        step = builder.phi(INT)
        totals = [builder.phi(VECTOR) for _ in range(sums)]
        inside, leave = builder.append_basic_block('inside'), after
        builder.cbranch(builder.icmp_signed('<', step, end), inside, leave)
        builder.position_at_end(inside)
        grown = body(step, totals)
        following = builder.add(step, INT(1))
        builder.branch(head)
        step.add_incoming(begin, before)
        step.add_incoming(following, inside)
        for total, new in zip(totals, grown):
            total.add_incoming(ZERO, before)
            total.add_incoming(new, inside)
        builder.position_at_end(after)
        return totals


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
