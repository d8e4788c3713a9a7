"""PyTorch's own operator samples, by torch and by ours: `python -m benchmarks.samples`.

The samples are those that PyTorch tests its operators with (OpInfo, in its private testing package, which
needs `expecttest`): in float64 with first and second derivatives, in float32 and bfloat16, and calls that
must be refused. Prints how many are equal, by operator and dtype, with the first difference; the exit status
is 1 if there is one. Writes samples.json to benchmarks/results.
"""

import argparse
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils import _pytree

import scratch_conv as sc
from benchmarks.measuring import keep

OPERATORS = (
    *("nn.functional.conv1d", "nn.functional.conv2d", "nn.functional.conv_transpose2d"),
    *("nn.functional.conv3d", "nn.functional.conv_transpose1d", "nn.functional.conv_transpose3d"),
    *("nn.functional.max_pool2d", "nn.functional.avg_pool2d", "nn.functional.adaptive_avg_pool2d"),
    *("nn.functional.batch_norm", "nn.functional.linear", "nn.functional.relu", "nn.functional.dropout"),
    *("nn.functional.dropout2d", "nn.functional.cross_entropy", "softmax", "log_softmax", "flatten"),
    *("nn.functional.pad", "nn.functional.pixel_shuffle", "nn.functional.pixel_unshuffle"),
    *("nn.functional.channel_shuffle", "nn.functional.unfold", "nn.functional.fold"),
    *("nn.functional.max_unpool1d", "nn.functional.max_unpool2d", "nn.functional.max_unpool3d"),
    "nn.functional.dropout3d",
)
DTYPES = (torch.float64, torch.float32, torch.bfloat16)


def main() -> None:
    """Compare, print a table, and write the raw figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a part of the operators' names")
    given = parser.parse_args()
    if importlib.util.find_spec("expecttest") is None:
        parser.error("PyTorch's samples need expecttest: pip install expecttest")
    from torch.testing._internal.common_methods_invocations import op_db

    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    shown = Table(title="PyTorch's own samples", header_style="")
    for column in ("operator", "dtype", "samples", "equal", "the first difference"):
        shown.add_column(column, justify="right" if column in ("samples", "equal") else "left")
    raw = []
    for operator in (each for each in op_db if each.name in OPERATORS and given.only in each.name):
        for kind, differences in compared(operator):
            found = [difference for difference in differences if difference]
            row = [operator.full_name, kind, len(differences), len(differences) - len(found), *found[:1]]
            shown.add_row(*map(str, row))
            print(*row, flush=True)
            raw.append(row)
    console = Console(highlight=False, width=160)
    console.print(shown)
    console.print(f"Raw figures: {keep('samples', {'rows': raw})}")
    raise SystemExit(any(row[2] != row[3] for row in raw))


def compared(operator: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield for each dtype, and for the calls to be refused, how each sample differs."""
    for dtype in DTYPES:
        if dtype in operator.supported_dtypes("cpu"):
            samples = operator.sample_inputs("cpu", dtype, requires_grad=True)
            calls = [(sample.input, sample.args, sample.kwargs) for sample in samples]
            orders = 2 if dtype == torch.float64 else 1
            yield str(dtype).removeprefix("torch."), [difference(operator, call, orders) for call in calls]
    if operator.error_inputs_func is not None:
        errors = [each.sample_input for each in operator.error_inputs("cpu")]
        yield "refused", [difference(operator, (each.input, each.args, each.kwargs), 1) for each in errors]


def difference(operator: Any, call: tuple[Any, ...], orders: int) -> str:
    """Return how ours differs from torch in a sample; empty where it doesn't."""
    torchs = outcome(operator, call, orders)
    with sc.override():
        ours = outcome(operator, call, orders)
    if isinstance(torchs, Exception) or isinstance(ours, Exception):
        return "" if isinstance(ours, type(torchs)) else f"{ours!r}, torch {torchs!r}"[:300]
    for number, (want, got) in enumerate(zip(torchs, ours, strict=True)):
        try:
            torch.testing.assert_close(got, want, equal_nan=True)
            assert not isinstance(want, Tensor) or want.requires_grad == got.requires_grad, "requires_grad"
        except AssertionError as error:
            if want.dtype != torch.bfloat16 or not _as_near(
                want, got, outcome(operator, _exact(call), 1)[number]
            ):
                return f"result {number}: {' '.join(str(error).split())}"[:300]
    return ""


def _exact(call: tuple[Any, ...]) -> Any:
    """Return a call with its tensors of bfloat16 in float64."""

    def widened(each: Tensor) -> Tensor:
        exact = each.detach().double() if each.dtype == torch.bfloat16 else each.detach()
        return exact.requires_grad_(each.requires_grad)

    return _pytree.tree_map_only(Tensor, widened, call)


def _as_near(torchs: Tensor, ours: Tensor, exact: Tensor) -> bool:
    """Return whether no result of ours is further off than one rounding, beyond the worst of torch's.

    Terms that cancel leave results of which no digit is right in either.
    """
    rounding = torch.finfo(torchs.dtype).eps / 2 * exact.abs()
    worst = (torchs - exact).abs().max()
    return bool(((ours - exact).abs() <= worst + rounding).all())


def outcome(operator: Callable[..., Any], call: tuple[Any, ...], orders: int) -> Any:
    """Return a call's outputs and derivatives up to an order, or its error."""
    input, args, kwargs = _pytree.tree_map_only(
        Tensor, lambda each: each.detach().clone().requires_grad_(each.requires_grad), call
    )
    torch.manual_seed(0)
    try:
        outputs = _pytree.tree_leaves(operator(input, *args, **kwargs))
    except Exception as error:
        return error
    results = list(outputs)
    leaves = [each for each in _pytree.tree_leaves((input, args, kwargs)) if _differentiable(each)]
    for order in range(orders):
        outputs = [each for each in outputs if _differentiable(each)]
        if not outputs or not leaves:
            break
        upstream = [torch.linspace(-1, 1, each.numel()).reshape(each.shape).to(each) for each in outputs]
        graph = order + 1 < orders
        outputs = [*torch.autograd.grad(outputs, leaves, upstream, create_graph=graph, allow_unused=True)]
        results += outputs
    return results


def _differentiable(each: Any) -> bool:
    return isinstance(each, Tensor) and each.requires_grad


if __name__ == "__main__":
    main()
