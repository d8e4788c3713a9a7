"""The parity tool on kinds of layers that people have reported: `python -m benchmarks.reported_layers`.

Each kind is a layer that earlier tools, or an earlier version of this one, missed, refused, could not run or
explained wrongly. What is right for it is held by tests of the parity suite, which this program runs one
kind after the other. Prints a table and writes reported_layers.txt to benchmarks/results/parity; the exit
status is 1 if an outcome is not the right one.
"""

import sys
from typing import NamedTuple

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.measuring import RESULTS

TESTS = "parity_tests/parity/"
FOUND = "test_self_testing.py::test_every_fault_is_found_and_named"
PASSES = "test_self_testing.py::test_no_right_implementation_is_refused"
RUNS = "test_adapters.py::test_a_right_layer_is_tested_as_it_stands"
SEEDS = range(3)


class Kind(NamedTuple):
    """A kind of layer, what is right for it, and the tests that hold that."""

    layer: str
    right: str
    tests: list[str]


def found(layer: str, fault: str) -> Kind:
    """Return a kind of faulty layer, which the tool finds and names within 500 examples, by three seeds."""
    return Kind(layer, "found", [f"{FOUND}[{fault}-{seed}]" for seed in SEEDS])


KINDS = [
    found("wrong from eight channels on", "conv2d-eighth-channel-by-the-first-taps"),
    found("wrong for long kernels in groups", "conv2d-long-kernels-in-groups-summed-twice"),
    found("another algorithm above an amount of work", "conv2d-other-algorithm-mirrored"),
    found("3x3, stride 2: planes read without their padding", "conv2d-planes-read-without-their-padding"),
    found("depthwise with two outputs a channel", "conv2d-depthwise-multiplier-by-copies"),
    found("7x7, stride 2, padding 3", "conv2d-first-layer-of-resnet-shifted"),
    found("four groups and more", "conv2d-second-and-third-group-exchanged"),
    found("channels of more than 128 values", "batch_norm-chunks-of-128-merged-without-their-means"),
    found("more than six rows of taps", "conv2d-seventh-row-of-taps-left-out"),
    found("more than eight classes", "softmax-greatest-of-the-first-eight"),
    found("3x3, stride 2, padding 1", "conv2d-halving-3x3-scaled"),
    found("transposed 4x4, stride 2, padding 1", "conv_transpose2d-doubling-4x4-halved-at-the-end"),
    Kind(
        "kernels in pairs beside whole strides",
        "found",
        ["test_adapters.py::test_kernels_are_pairs_where_other_arguments_are_annotated_as_numbers"],
    ),
    Kind(
        "Winograd's algorithm with tiles too close",
        "found, beside its rounding",
        ["test_aspects.py::test_rounding_does_not_hide_a_fault_in_the_same_result"],
    ),
    Kind(
        "a default of training that is not torch's",
        "said",
        ["test_adapters.py::test_a_default_that_is_not_torchs_is_said"],
    ),
    Kind(
        "an exception in backward",
        "no classic fault",
        ["test_diagnosis.py::test_two_exceptions_are_not_the_same_fault"],
    ),
    Kind(
        "gradients that add up, and a forgotten padding",
        "both found",
        [
            "test_diagnosis.py::test_gradients_that_add_up_are_named_once",
            "test_adapters.py::test_gradients_that_add_up_and_a_forgotten_padding_are_both_found",
        ],
    ),
    Kind(
        "whole numbers only, where pairs are drawn",
        "pairs alone are left out",
        ["test_diagnosis.py::test_what_fails_as_a_pair_only_is_left_out_as_a_pair_only"],
    ),
    Kind(
        "padding twice: fails now and then",
        "no hint hides it",
        ["test_diagnosis.py::test_what_fails_now_and_then_is_not_said_to_be_left_out"],
    ),
    Kind(
        "wrong where height and width differ",
        "said",
        ["test_diagnosis.py::test_a_cause_is_named[tall"],
    ),
    Kind(
        "constants in the module of a layer",
        "the same cases",
        ["test_searching.py::test_a_seed_draws_the_same_cases_beside_any_module"],
    ),
    Kind(
        "ties in max pooling to every winner",
        "named alone",
        ["test_diagnosis.py::test_where_a_classic_fault_explains_all_places_are_not_named"],
    ),
    Kind(
        "a loop over samples",
        "hint: --without empty",
        ["test_adapters.py::test_what_a_loop_over_samples_lacks_is_an_empty_batch"],
    ),
    Kind(
        "threads from before the fork (JAX)",
        "tested in its own process",
        [
            "test_checking.py::"
            "test_a_candidate_is_checked_in_its_own_process_where_no_forked_one_can_differentiate"
        ],
    ),
    Kind(
        "a first call that compiles for long (Numba)",
        "waited for",
        ["test_judging.py::test_a_longer_first_call_is_waited_for"],
    ),
    *(
        Kind(
            f"{layer}, right",
            "passes, by ten seeds",
            [f"{PASSES}[conv2d-{name}-{seed}]" for seed in range(10)],
        )
        for layer, name in (
            ("Winograd's algorithm", "by-winograd"),
            ("an FFT", "by-fft"),
            ("sums in float64", "in-float64"),
            ("sums in reverse order", "im2col-reversed"),
        )
    ),
    Kind(
        "both gradients divided by the batch",
        "named together",
        ["test_diagnosis.py::test_a_cause_is_named[Dense"],
    ),
    Kind("arrays in the constructor", "runs", [f"{RUNS}[OfArrays"]),
    Kind("backward with a rate", "runs", [f"{RUNS}[Stepping"]),
    Kind("an eps of its own", "runs", [f"{RUNS}[SmallEpsilon"]),
    Kind("channels on the last axis", "runs", [f"{RUNS}[LastAxis"]),
    Kind(
        "parameters one object deeper; [p:-p] with p = 0",
        "runs; named",
        [f"{RUNS}[Outer", "test_diagnosis.py::test_a_cause_is_named[Pad"],
    ),
    Kind("padding='same' only", "runs", [f"{RUNS}[only_same"]),
    Kind("other names in the constructor", "runs", [f"{RUNS}[OtherNames"]),
    Kind("functools.partial of a class", "runs", [f"{RUNS}[OfTwoAxes"]),
    Kind(
        "3x3 only",
        "runs; its share is said",
        ["test_adapters.py::test_a_layer_that_says_what_it_does_not_claim_is_skipped_and_counted"],
    ),
    Kind(
        "training only, and values counted wrongly",
        "runs; found",
        ["test_adapters.py::test_of_a_layer_that_is_trained_only_the_count_of_its_values_is_found_wrong"],
    ),
    Kind("value and gradient in one dictionary", "runs", [f"{RUNS}[InOneDictionary"]),
]


class Outcomes:
    """A plugin of pytest: runs the tests of these kinds only, and keeps what comes of each."""

    def __init__(self) -> None:
        self.passed: dict[str, bool] = {}
        self.seconds: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out all other tests."""
        wanted = tuple(TESTS + test for kind in KINDS for test in kind.tests)
        items[:] = [item for item in items if item.nodeid.startswith(wanted)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the outcome of a test."""
        name = report.nodeid.removeprefix(TESTS)
        self.passed[name] = self.passed.get(name, True) and report.passed
        self.seconds[name] = self.seconds.get(name, 0) + report.duration


def main() -> None:
    """Run the tests, print a table and keep it."""
    outcomes = Outcomes()
    files = sorted({TESTS + test.partition("::")[0] for kind in KINDS for test in kind.tests})
    all_seeds = "--hypothesis-profile=thorough"
    pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", all_seeds, *files], plugins=[outcomes])
    table = Table("layer", "right", "tests", "as it is right", "seconds", box=None)
    wrong = []
    for kind in KINDS:
        names = [name for name in outcomes.passed if name.startswith(tuple(kind.tests))]
        right = len(names) >= len(kind.tests) and all(outcomes.passed[name] for name in names)
        seconds = sum(outcomes.seconds[name] for name in names)
        table.add_row(
            escape(kind.layer), kind.right, str(len(names)), "yes" if right else "NO", f"{seconds:.0f}"
        )
        wrong += [] if right else [kind.layer]
    said = f"{len(KINDS) - len(wrong)} of {len(KINDS)} kinds of reported layers end as is right"
    path = RESULTS / "parity" / "reported_layers.txt"
    with path.open("w", encoding="utf-8") as file:
        for console in (Console(highlight=False, width=110), Console(file=file, width=110)):
            console.print(table)
            console.print(said)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
