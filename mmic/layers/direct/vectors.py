"""Code of numba's compiler in vectors of the processor, where its own has no words for them."""

from llvmlite import binding, ir
from numba import types

WIDE = binding.get_host_cpu_features().get('avx512f', False)
WIDTH = 16 if WIDE else 8  # numbers in a vector
# Not all of it: NaN and infinity have to stay what they are.
FLAGS = 'contract', 'reassoc', 'nsz'
INT, VECTOR = ir.IntType(64), ir.VectorType(ir.FloatType(), WIDTH)
ZERO = ir.Constant(VECTOR, [0.0] * WIDTH)


class Code:
    """Writes what the loops are made of: addresses in arrays, vectors from there, products."""

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
        inside = builder.append_basic_block('inside')
        builder.cbranch(builder.icmp_signed('<', step, end), inside, after)
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
