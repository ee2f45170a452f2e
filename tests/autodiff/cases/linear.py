"""Cases for onnxcam.autodiff.rules.linear."""

from tests.autodiff.cases import Case, case, normal


def product(name: str, a: tuple[int, ...], b: tuple[int, ...], **settings: object) -> Case:
    return case("MatMul", name, {"a": normal(*a), "b": normal(*b, seed=1)}, **settings)


def gemm(name: str, a: tuple[int, ...], b: tuple[int, ...], c: tuple[int, ...] | None, **settings: object) -> Case:
    bias = {} if c is None else {"c": normal(*c, seed=2)}
    return case("Gemm", name, {"a": normal(*a), "b": normal(*b, seed=1), **bias}, **settings)


def contraction(equation: str, *shapes: tuple[int, ...], **settings: object) -> Case:
    inputs = {f"x{i}": normal(*shape, seed=i) for i, shape in enumerate(shapes)}
    return case("Einsum", equation.replace(" ", ""), inputs, equation=equation, **settings)


CASES = [
    product("matrices", (2, 3), (3, 4)),
    product("weights", (2, 3), (3, 4), constants=("b",)),
    product("sequence-weights", (2, 4, 3), (3, 2)),
    product("batch", (2, 2, 3), (2, 3, 2)),
    product("broadcast", (2, 1, 2, 3), (4, 3, 2)),
    product("matrix-batch", (2, 3), (2, 3, 2)),
    product("vectors", (3,), (3,)),
    product("row-matrix", (3,), (3, 2)),
    product("row-batch", (3,), (2, 3, 2)),
    product("matrix-column", (2, 3), (3,)),
    product("batch-column", (2, 2, 3), (3,)),
    gemm("plain", (2, 3), (3, 4), None),
    gemm("row", (2, 3), (3, 4), (4,), alpha=0.5, beta=2.0),
    gemm("row-2d", (2, 3), (4, 3), (1, 4), transB=1),
    gemm("column", (3, 2), (3, 4), (2, 1), transA=1, beta=0.5),
    gemm("scalar", (3, 2), (4, 3), (), transA=1, transB=1, alpha=2.0),
    gemm("full", (2, 3), (3, 4), (2, 4)),
    gemm("weights", (2, 3), (4, 3), (4,), transB=1, constants=("b", "c")),
    contraction("ij, jk -> ik", (2, 3), (3, 2)),
    contraction("bhid,bhjd->bhij", (1, 2, 3, 2), (1, 2, 2, 2)),
    contraction("jk,ij", (3, 2), (2, 3)),
    contraction("ji", (2, 3)),
    contraction("ij->i", (2, 3)),
    contraction("ij->", (2, 3)),
    contraction("ii->i", (3, 3)),
    contraction("ii", (3, 3)),
    contraction("iji->j", (2, 3, 2)),
    contraction("ijij->ji", (2, 3, 2, 3)),
    contraction("i,j->ij", (2,), (3,)),
    contraction("i,i->", (3,), (3,)),
    contraction(",i->i", (), (3,)),
    contraction("ij,k->i", (2, 3), (2,)),
    contraction("iij,j->ij", (2, 2, 3), (3,)),
    contraction("...ij,...jk->...ik", (2, 1, 2, 3), (1, 2, 3, 2)),
    contraction("...ij,jk", (2, 2, 3), (3, 2)),
    contraction("i...->...", (2, 3)),
    contraction("ij,jk,kl->il", (2, 3), (3, 2), (2, 2)),
    contraction("ab,cb,bd->a", (2, 3), (2, 3), (3, 2)),
    case("Det", "plain", {"x": normal(3, 3)}),
    case("Det", "batch", {"x": normal(2, 2, 2, 2)}),
    case("Det", "one", {"x": normal(2, 1, 1)}, symbolic=False),  # a minor of nothing
]
