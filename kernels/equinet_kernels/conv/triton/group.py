"""Writes the function that the programs of one group of paths run, at any of the three levels."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby

from equinet_kernels.conv.triton.lines import Lines, Term, plus, signed_sum, tile_columns
from equinet_kernels.conv.triton.plan import STAGES, Level, Plan, couplings, output_columns, weight_columns
from equinet_kernels.spec import ConvSpec

FORMULAS = {
    Level.FORWARD: """
    out_k = sum over edges, i of  b_ik a_i             a_i = w x_i
""",
    Level.BACKWARD: """
    dw = sum_i x_i v_i                                 v_i = sum_k b_ik g_k
    dx_i = sum over paths of  w v_i
    dy_j = sum over paths, ik of  C_ijk a_i g_k        a_i = w x_i
""",
    Level.DOUBLE_BACKWARD: """
    gg_k = sum over edges, i of  b_ik a_i + bt_ik c_i  a_i = w xt_i + wt x_i,  c_i = w x_i
    gw = sum_i xt_i v_i + x_i vt_i                     v_i = sum_k b_ik g_k,  vt_i = sum_k bt_ik g_k
    gx_i = sum over paths of  wt v_i + w vt_i
    gy_j = sum over paths, ik of  C_ijk a_i g_k
""",
}
"""What a program computes, with ``b_ik = sum_j C_ijk y_j`` built once for all channels of an edge. A t marks tangents,
which double backward is given besides g, x, y and w, and ``bt_ik = sum_j C_ijk yt_j``. Every path has its own w, g_k,
out_k and gg_k; left out are sums over the edges of a sender (dx, gx) and over channels (dy, gy)."""

ARGUMENTS = {
    Level.FORWARD: "x, y, w, senders, row_ptr, out",
    Level.BACKWARD: "g, x, y, w, senders, row_ptr, dx, dy, dw",
    Level.DOUBLE_BACKWARD: "xt, yt, wt, g, x, y, w, senders, row_ptr, gg, gx, gy, gw",
}
"""Of the kernels. Of dx, dy, gx and gy a program writes its part: for each edge a row of ``Plan.edge_width`` and one of
``Plan.tiles * y_dim``."""

Matrix = dict[tuple[int, int], Term]
"""Sign and name of each element (i, k) that is not zero, i of x and k of the result."""


class GroupSource(Lines):
    """The function of one group, line by line.

    In it x_i is a component of the sender's features, y_j a harmonic, w_p the weight of path p, g_p_k a component of
    the receiver's cotangent. Vectors run over the channels of a tile; y and the elements of B are scalars.
    """

    def __init__(self, spec: ConvSpec, level: Level, dtype: str, plan: Plan, number: int) -> None:
        super().__init__()
        self.spec, self.level, self.dtype, self.plan = spec, level, dtype, plan
        self.group = plan.groups[number]
        self.name = f"group_{number}"
        self.arguments = f"{ARGUMENTS[level].replace(' row_ptr,', '')}, node, begin, end, tile"
        self.channels = spec.x[self.group.block].channels
        self.components = range(2 * spec.x[self.group.block].l + 1)
        self.masked = self.group.tiles * self.group.width > self.channels
        self.elements: dict[str, str] = {}  # of the matrices B of an edge: the name of an expression
        self.begun: set[str] = set()  # sums that have their first term
        self.write()

    def write(self) -> None:
        """Write all of it."""
        group = self.group
        # Not inlined: a pass of Triton's compiler takes time with the cube of a function's length.
        self.add("@triton.jit(noinline=True)")
        with self.under(f"def {self.name}({self.arguments}):"):
            paths = " ".join(self._describe(p) for p in group.paths)
            self.add(
                f'"""Block {group.block} of x, {self.channels} channels in tiles of {group.width}; paths {paths}."""'
            )
            self.add(f"c = {tile_columns(group.first_tile, group.tiles, group.width)}")
            if self.masked:
                self.add(f"here = c < {self.channels}")
            if self.level is Level.FORWARD:
                self.forward()
            elif self.level is Level.BACKWARD:
                self.backward()
            else:
                self.double_backward()

    # The levels, each as its FORMULAS say.

    def forward(self) -> None:
        """out."""
        self._start_receiver_sums("out")
        with self._every_edge():
            self._load_edge()
            for p in self._paths():
                b = self._matrix(p, "y", "b")
                self._each_component(p, "a_{i} = w_{p} * x_{i}")
                self._sum_up_product(p, "out", [(b, "a")])
        self._store_receiver_sums("out")

    def backward(self) -> None:
        """dx, dy and dw."""
        self._load_receiver("g")
        with self._every_edge():
            self._load_edge()
            for p in self._paths(harmonics="dy"):
                b = self._matrix(p, "y", "b")
                self._transposed_product(p, "v", b)
                self._store_weight_gradient(p, "dw", [("x", "v")])
                self._sum_up_features(p, "dx", [("w", "v")])
                self._each_component(p, "a_{i} = w_{p} * x_{i}")
                self._sum_up_harmonics(p, "dy")
            self._store_features("dx")

    def double_backward(self) -> None:
        """gg, gx, gy and gw."""
        self._load_receiver("g")
        self._start_receiver_sums("gg")
        with self._every_edge():
            self._load_edge()
            self._load_edge("t")
            for p in self._paths(harmonics="gy"):
                b, bt = self._matrix(p, "y", "b"), self._matrix(p, "yt", "bt")
                self._transposed_product(p, "v", b)
                self._transposed_product(p, "vt", bt)
                self._store_weight_gradient(p, "gw", [("xt", "v"), ("x", "vt")])
                self._sum_up_features(p, "gx", [("wt", "v"), ("w", "vt")])
                self._each_component(p, "a_{i} = w_{p} * xt_{i} + wt_{p} * x_{i}")
                self._each_component(p, "c_{i} = w_{p} * x_{i}")
                self._sum_up_product(p, "gg", [(b, "a"), (bt, "c")])
                self._sum_up_harmonics(p, "gy")
            self._store_features("gx")
        self._store_receiver_sums("gg")

    # Rows in memory.

    def _load(self, name: str, row: str, column: int) -> None:
        self.add(f"{name} = tl.load({row}{plus(column)}{', here, 0.0' if self.masked else ''})")

    def _store(self, row: str, column: int, value: str) -> None:
        self.add(f"tl.store({row}{plus(column)}, {value}{', here' if self.masked else ''})")

    @contextmanager
    def _every_edge(self) -> Iterator[None]:
        with self.under(f"for e in tl.range(begin, end, num_stages={STAGES}):"):
            self.add("sender = tl.load(senders + e)")
            yield

    def _load_edge(self, t: str = "") -> None:
        """Load w, x and y or their tangents: all at once, because no load moves up past a store."""
        spec, block = self.spec, self.group.block
        self.add(f"w{t}_row = w{t} + e * {spec.weight_dim} + c")
        for p in self.group.paths:
            self._load(f"w{t}_{p}", f"w{t}_row", self._weight_columns[p])
        self.add(f"x{t}_row = x{t} + sender * {spec.x.dim}{plus(spec.x.offsets[block])} + c")
        for i in self.components:
            self._load(f"x{t}_{i}", f"x{t}_row", i * self.channels)
        self.add(f"y{t}_row = y{t} + e * {spec.y_dim}")
        for l2 in sorted({spec.paths[p].l2 for p in self.group.paths}):
            for j in range(l2**2, (l2 + 1) ** 2):
                self.add(f"y{t}_{j} = tl.load(y{t}_row{plus(j)})")

    def _receiver_values(self) -> Iterator[tuple[str, int]]:
        """Name and column of each value that the receiver's row holds for this group."""
        for p in self.group.paths:
            for k, column in enumerate(self._output_columns[p]):
                yield f"{p}_{k}", column

    def _load_receiver(self, g: str) -> None:
        self.add(f"{g}_row = {g} + node * {self.spec.out.dim} + c")
        for name, column in self._receiver_values():
            self._load(f"{g}_{name}", f"{g}_row", column)

    def _start_receiver_sums(self, out: str) -> None:
        for name, _ in self._receiver_values():
            self.add(f"{out}_{name} = tl.zeros([{self.group.width}], {self.dtype})")
            self.begun.add(f"{out}_{name}")

    def _store_receiver_sums(self, out: str) -> None:
        self.add(f"{out}_row = {out} + node * {self.spec.out.dim} + c")
        for name, column in self._receiver_values():
            self._store(f"{out}_row", column, f"{out}_{name}")

    def _store_weight_gradient(self, p: int, dw: str, products: list[tuple[str, str]]) -> None:
        """dw = <x, v>."""
        value = signed_sum((1.0, f"{x}_{i} * {v}_{i}") for x, v in products for i in self.components)
        self._store(f"{dw} + e * {self.spec.weight_dim} + c", self._weight_columns[p], value)

    def _store_features(self, dx: str) -> None:
        self.add(f"{dx}_row = {dx} + e * {self.plan.edge_width}{plus(self.group.edge_column)} + c")
        for i in self.components:
            self._store(f"{dx}_row", i * self.channels, f"{dx}_{i}")

    # Paths, and what is computed for each.

    def _describe(self, p: int) -> str:
        i, l2, l3, p3 = self.spec.paths[p]
        return f"{i}.{l2}.{l3}{'e' if p3 == 1 else 'o'}"

    def _paths(self, harmonics: str = "") -> Iterator[int]:
        """The paths in order. Sums over channels (``harmonics``) are taken and stored behind the last path of their
        degree; a degree without a path in this group has zeros."""
        if harmonics:
            self.add(f"{harmonics}_row = {harmonics} + (e * {self.plan.tiles} + tile) * {self.spec.y_dim}")
        rest = set(range(self.spec.y_dim))
        for l2, paths in groupby(self.group.paths, key=lambda p: self.spec.paths[p].l2):
            for p in paths:
                self.add(f"# path {p}: {self._describe(p)}")
                yield p
            for j in range(l2**2, (l2 + 1) ** 2) if harmonics else ():
                self.add(f"tl.store({harmonics}_row{plus(j)}, tl.sum({harmonics}_{j}, 0))")
                rest.remove(j)
        for j in sorted(rest) if harmonics else ():
            self.add(f"tl.store({harmonics}_row{plus(j)}, 0.0)")

    def _each_component(self, p: int, statement: str) -> None:
        for i in self.components:
            self.add(statement.format(i=i, p=p))

    def _matrix(self, p: int, y: str, b: str) -> Matrix:
        """B_ik = sum_j C_ijk y_j. Elements that are equal, but for the sign, are computed once for the whole edge."""
        terms: dict[tuple[int, int], list[Term]] = {}
        for i, j, k, constant in couplings(self.spec, self.spec.paths[p]):
            terms.setdefault((i, k), []).append((constant, f"{y}_{j}"))
        matrix = {}
        for place, element in terms.items():
            sign = -1.0 if element[0][0] < 0 else 1.0
            expression = signed_sum((sign * constant, harmonic) for constant, harmonic in element)
            if " " not in expression:  # a harmonic itself
                matrix[place] = (sign, expression)
                continue
            if expression not in self.elements:
                self.elements[expression] = f"{b}_{len(self.elements)}"
                self.add(f"{self.elements[expression]} = {expression}")
            matrix[place] = (sign, self.elements[expression])
        return matrix

    def _sum_up(self, name: str, terms: list[Term]) -> None:
        """Add terms to a sum, one after the other: each is a fused multiply-add."""
        self.add(f"{name} = {signed_sum([(1.0, name)] * (name in self.begun) + terms)}")
        self.begun.add(name)

    def _sum_up_product(self, p: int, out: str, products: list[tuple[Matrix, str]]) -> None:
        """out_k += sum_i B_ik a_i."""
        for k in range(2 * self.spec.paths[p].l3 + 1):
            terms = [
                (sign, f"{element} * {a}_{i}")
                for matrix, a in products
                for (i, column), (sign, element) in matrix.items()
                if column == k
            ]
            self._sum_up(f"{out}_{p}_{k}", terms)

    def _transposed_product(self, p: int, v: str, matrix: Matrix) -> None:
        """v_i = sum_k B_ik g_k."""
        for i in self.components:
            terms = ((sign, f"{b} * g_{p}_{k}") for (row, k), (sign, b) in matrix.items() if row == i)
            self.add(f"{v}_{i} = {signed_sum(terms)}")

    def _sum_up_features(self, p: int, dx: str, products: list[tuple[str, str]]) -> None:
        """dx += w v."""
        for i in self.components:
            self._sum_up(f"{dx}_{i}", [(1.0, f"{w}_{p} * {v}_{i}") for w, v in products])

    def _sum_up_harmonics(self, p: int, dy: str) -> None:
        """dy_j += sum_ik C_ijk a_i g_k, a constant before the sum of all that it multiplies."""
        products: dict[int, dict[float, list[Term]]] = {}
        for i, j, k, constant in couplings(self.spec, self.spec.paths[p]):
            sign = -1.0 if constant < 0 else 1.0
            products.setdefault(j, {}).setdefault(abs(constant), []).append((sign, f"a_{i} * g_{p}_{k}"))
        for j, by_size in products.items():
            terms = by_size.pop(1.0, [])
            for size, inner in by_size.items():
                terms.append((size, f"({signed_sum(inner)})"))
            self._sum_up(f"{dy}_{j}", terms)

    @cached_property
    def _weight_columns(self) -> list[int]:
        return weight_columns(self.spec)

    @cached_property
    def _output_columns(self) -> list[list[int]]:
        return output_columns(self.spec)
