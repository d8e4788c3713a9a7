"""What people call torch's arguments, tensors and methods; matching a signature with torch's names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from scratch_conv.parity.drawing.claims import words_of

SPELLINGS = {
    "input": (
        *("input", "inputs", "x", "X", "A_prev", "A", "a", "data", "image", "images", "img", "z", "Z"),
        *("y_pred", "y_hat", "yhat", "pred", "preds", "prediction", "predictions", "predicted", "logits"),
        *("scores", "probs"),
    ),
    "target": (
        *("target", "targets", "labels", "label", "t", "y_true", "true", "truth", "actual", "expected"),
        *("ground_truth", "gt"),
    ),
    "weight": ("weight", "weights", "W", "w", "kernel", "kernels", "filters", "gamma", "scale", "filter"),
    "bias": ("bias", "biases", "b", "beta", "shift", "w0"),
    "running_mean": ("running_mean", "moving_mean"),
    "running_var": ("running_var", "moving_var", "running_variance", "moving_variance"),
}
"""What a tensor may be called."""

EITHER = "y"
"""A prediction beside a target of another name, else the target."""

ARGUMENTS = {
    "kernel_size": "kernel_shape filter_size filter_shape pool_size pool_shape window_size ksize f_size "
    "kernel window pool field size ks f k",
    "kernel_size[0]": "kernel_h kernel_height kh filter_h filter_height fh pool_h pool_height HH",
    "kernel_size[1]": "kernel_w kernel_width kw filter_w filter_width fw pool_w pool_width WW",
    "stride": "strides step steps stride_size s",
    "stride[0]": "stride_h stride_height sh",
    "stride[1]": "stride_w stride_width sw",
    "padding": "pad pads pad_size padding_size zero_padding p",
    "dilation": "dilations dilation_rate dilate",
    "groups": "num_groups n_groups group",
    "num_groups": "groups n_groups group ngroups num_group G g",
    "normalized_shape": "dim dims normalized_dim feature_dim hidden_dim hidden_size d_model embed_dim "
    "emb_dim n_embd n_features num_features features size shape input_dim input_size in_features units",
    "num_channels": "channels n_channels num_features n_features features C c in_channels dim",
    "out_channels": "num_filters n_filters nb_filters n_filter filters out_ch output_channels out_channel "
    "channels_out n_out_channels num_kernels n_kernels out_chan dim_out out_dim depth kernels out_depth "
    "n_filter_out out_planes c_out cout n_out output_channel filter_num num_filter features",
    "in_channels": "input_channels in_ch in_channel input_channel channels_in n_in_channels num_channels "
    "n_channels in_chan dim_in in_dim input_depth in_depth channels in_planes c_in cin n_in image_channels",
    "in_features": "input_size in_size input_dim in_dim n_in num_inputs n_inputs input_len inputs fan_in "
    "dim_in in_feature input_features num_input nin n_input input_shape size_in in_units input_units "
    "n_features",
    "out_features": "output_size out_size output_dim out_dim n_out num_outputs n_outputs units nodes outputs "
    "fan_out dim_out out_feature output_features num_output nout n_output neurons n_neurons n_units "
    "num_units size_out out_units output_units layer_size",
    "num_features": "num_channels n_features features channels dim n_channels input_dim input_size size C "
    "num_feature input_features dims n_in in_channels",
    "eps": "epsilon",
    "dim": "axis",
    "p": "rate drop_rate dropout_ratio dropout_rate drop_prob dropout prob dropout_prob drop_p",
    "1-p": "keep_prob keep_probability keep_p",
    "training": "train is_training train_flg is_train",
    "negative_slope": "alpha slope leak",
    "label_smoothing": "smoothing",
    "bias": "use_bias with_bias has_bias",
    "input_shape": "input_dims in_shape image_shape input_size img_shape image_size",
    "input_height": "height input_h image_height in_height",
    "input_width": "width input_w image_width in_width",
    "batch_size": "batch n_batch",
    "rate": "learning_rate lr eta learn_rate alpha step_size learningRate",
}
"""What an argument, or what a constructor is given, may be called, by torch's name or an expression of it."""

METHODS = {
    "forward": "forward forward_pass forward_propagation forward_prop feedforward fprop call __call__",
    "backward": "backward backward_pass backward_propagation backward_prop backprop bprop back_propagation "
    "back_prop backpropagate",
}
"""What a layer's methods may be called."""

IMAGE = ("input_shape", "input_height", "input_width", "batch_size")
"""What a constructor may be given of the sizes of its input."""

MODE = "training in words"
"""The source of what some functions read in a dictionary, by the key "mode": "train" or "test"."""

_WORD = re.compile(r"(1-)?(\w+)(?:\[(\d)\])?")
_PLACE = re.compile(r"\w+(\.\w+|\[(?:\d+|'[^']+'|\"[^\"]+\"|\w+)\])*")
_DICTIONARY = re.compile(r"(\w*_)?(params?|hparameters|hparams|config|options|cfg)")


@dataclass(frozen=True)
class Source:
    """What a candidate's own argument is given: one of torch's, an element of it, or 1 minus it.

    Attributes:
        name: torch's name.
        index: which element, of what may be a pair; None for all of it.
        complement: whether it is 1 minus torch's.
    """

    name: str
    index: int | None = None
    complement: bool = False

    def of(self, value: Any) -> Any:
        """Return what is given where torch's value is `value`."""
        if self.index is not None:
            value = value[self.index] if isinstance(value, (tuple, list)) else value
        if self.complement:  # a momentum of None, which averages over all batches, is 1 in the first one
            return 0.0 if value is None else 1 - value
        return value


Sources: TypeAlias = "dict[str, Source | dict[str, Source]]"
"""What is given to each argument of a candidate; for one that is a dictionary, to each of its keys."""


def source_of(text: str) -> Source:
    """Return what is written as `name`, `name[0]` or `1-name`.

    Raises:
        ValueError: it is written otherwise.
    """
    found = _WORD.fullmatch(text.replace(" ", ""))
    if found is None:
        raise ValueError(f"names: written as name, name[0] or 1-name, got {text!r}")
    complement, name, index = found.groups()
    return Source(name, None if index is None else int(index), bool(complement))


@dataclass(frozen=True)
class Names:
    """What a user says of a candidate's names.

    Attributes:
        sources: what its own arguments are given, by their names; `dictionary.key` for a dictionary's.
        places: where it holds tensors and gradients, by torch's name or grad_ and that: `weight` is at
            `conv.W` or at `params['W1']`.
        methods: what it calls forward and backward.
    """

    sources: Mapping[str, Source]
    places: Mapping[str, str]
    methods: Mapping[str, str]

    def method(self, holder: Any, word: str) -> str | None:
        """Return the name of the method of an object, or of a class, that is its forward or backward."""
        own = vars(type) if isinstance(holder, type) else {}
        named = self.methods.get(word)
        for each in (named,) if named else METHODS[word].split():
            found = inspect.getattr_static(holder, each, None)
            if found is not None and found is not own.get(each) and callable(getattr(holder, each, None)):
                return each
        return None


NO_NAMES = Names({}, {}, {})


def parse_names(names: str | Mapping[str, str] | None, known: Iterable[str], tensors: Iterable[str]) -> Names:
    """Return what is said of names: each as theirs=torch's or torch's=theirs.

    Args:
        names: words such as "num_filters=out_channels,weight=conv.W,forward=forward_pass", or a mapping.
        known: torch's names of arguments and of a layer's sizes.
        tensors: torch's names of tensors.

    Raises:
        ValueError: a word names nothing of torch's, or is written otherwise.
    """
    if isinstance(names, str):
        parted = [word.partition("=") for word in words_of(names)]
        if any(not (one.strip() and other.strip()) for one, _, other in parted):
            raise ValueError(f"names: written as theirs=torch's, separated by commas, got {names!r}")
        pairs = [(one.strip(), other.strip()) for one, _, other in parted]
    else:
        pairs = [(str(one), str(other)) for one, other in (names or {}).items()]
    grads = {f"grad_{name}" for name in tensors}
    arguments = {*known, *tensors, *IMAGE, "rate", "training"}
    words = arguments | grads | METHODS.keys()
    sources, places, methods = {}, {}, {}
    for one, other in pairs:
        theirs, torchs = (one, other) if _base(other) in words else (other, one)
        if _base(torchs) not in words:
            choices = ", ".join(sorted(words))
            raise ValueError(
                f"names: neither {one!r} nor {other!r} is a name of torch's; choose from {choices}"
            )
        if not _PLACE.fullmatch(theirs):
            raise ValueError(f"names: {theirs!r} names no argument, attribute or entry")
        if torchs in METHODS:
            methods[torchs] = theirs
        elif torchs in grads:
            places[torchs] = theirs
        else:
            sources[theirs] = source_of(torchs)
            places |= {torchs: theirs} if torchs in tensors else {}
    return Names(sources, places, methods)


def _base(text: str) -> str:
    found = _WORD.fullmatch(text.replace(" ", ""))
    return "" if found is None else found.group(2)


def match(
    taken: Mapping[str, inspect.Parameter], offered: Iterable[str], names: Names, candidate: Any = None
) -> Sources:
    """Return what each argument of a signature is given: as the user says, by torch's or by a known name.

    Args:
        taken: the parameters.
        offered: torch's names of what can be given, those that come first are spelled otherwise first.
        names: what the user says.
        candidate: the function or class, whose code shows which keys it reads of a dictionary.
    """
    offered = tuple(dict.fromkeys(offered))
    plain = [name for name, each in taken.items() if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
    found: Sources = {name: names.sources[name] for name in plain if name in names.sources}
    found |= {name: Source(name) for name in plain if name in offered and name not in found}
    for name in sorted(plain, key=lambda name: name == EITHER):
        if name not in found and (source := _spelled(name, offered, found)):
            found[name] = source
    for name in plain:
        keys = {k.partition(".")[2]: s for k, s in names.sources.items() if k.startswith(f"{name}.")}
        if name not in found and (keys or _DICTIONARY.fullmatch(name.lower())):
            keys = {**_keys(candidate, offered), **keys}
        if keys:
            found[name] = keys
    return found


def _spelled(name: str, offered: Iterable[str], found: Sources) -> Source | None:
    """Return what a name is a known spelling of, among what is offered and not yet given."""
    used = {source.name for source in used_sources(found)}
    for expression, spellings in ARGUMENTS.items():
        source = source_of(expression)
        free = source not in used_sources(found) and (source.index is not None or source.name not in used)
        if source.name in offered and free and name in spellings.split():
            return source
    left = [torchs for torchs in offered if torchs not in used]
    if name == EITHER:
        return next(
            (Source(torchs) for torchs in ("target", "input") if "target" in offered and torchs in left), None
        )
    return next((Source(torchs) for torchs in left if name in SPELLINGS.get(torchs, ())), None)


def taken_of(sources: Sources) -> set[str]:
    """Return torch's names of what a candidate takes."""
    names = {source.name for source in used_sources(sources)}
    return names | {"training"} if MODE in names else names


def used_sources(sources: Sources) -> list[Source]:
    """Return what a candidate takes, within its dictionaries too."""
    found: list[Source] = []
    for each in sources.values():
        found += each.values() if isinstance(each, dict) else [each]
    return found


def _keys(candidate: Callable[..., Any] | None, offered: Iterable[str]) -> dict[str, Source]:
    """Return what the keys are given that a function, or a class's methods, read of a dictionary."""
    keys: Sources = {}
    for word in _constants(candidate):
        source = Source(word) if word in offered else _spelled(word, offered, keys)
        if source is not None:
            keys[word] = source
        elif word == "mode" and "training" in offered:
            keys[word] = Source(MODE)
    return {name: source for name, source in keys.items() if isinstance(source, Source)}


def _constants(candidate: Any) -> list[str]:
    """Return the words that stand in the code of a function or of a class's methods."""
    functions = vars(candidate).values() if inspect.isclass(candidate) else [inspect.unwrap(candidate)]
    codes = [function.__code__ for function in functions if hasattr(function, "__code__")]
    return [
        word for code in codes for word in code.co_consts if isinstance(word, str) and word.isidentifier()
    ]
