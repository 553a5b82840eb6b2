"""From alias to class to instance: the values that are accepted, and the errors for all others."""

from __future__ import annotations

import json
from functools import partial
from importlib.metadata import version

import numpy as np
import pytest
from regkit_hidden_l1 import HiddenL1

import regkit

try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11: pip has the same in it
    from pip._vendor import tomli as tomllib

ACCEPTED = (
    "a finite real number of at least 0, a regkit.Live of one, or a scalar of a graph library, "
    "a mapping of constructor arguments, a regularizer, a list of these, or None"
)


def message(error_class, **aliases) -> str:
    """Return the message of the error that `build` raises."""
    with pytest.raises(regkit.RegkitError) as error:
        regkit.build(**aliases)
    assert type(error.value) is error_class
    return str(error.value)


# Values


@pytest.mark.parametrize(
    "weight", [0.1, 1, 0, np.float32(0.5), np.float64(0.1), np.int32(2), np.array(0.25), np.longdouble(0.5)]
)
def test_a_real_number_is_the_weight(weight):
    (regularizer,) = regkit.build(hidden_l1=weight)
    assert type(regularizer) is HiddenL1
    assert regularizer.weight == weight
    assert type(regularizer.weight) in (int, float)


def test_a_mapping_holds_the_arguments_of_the_constructor():
    (regularizer,) = regkit.build(hidden_sparsity=dict(weight=0.1, pattern="hid3:out", reduction="mean"))
    assert (regularizer.weight, regularizer.pattern, regularizer.reduction) == (0.1, "hid3:out", "mean")


def test_a_mapping_without_a_weight_warns_that_it_has_no_effect():
    with pytest.warns(UserWarning, match="alias 'hidden_l1': HiddenL1 was given no weight.*no effect") as record:
        (regularizer,) = regkit.build(hidden_l1=dict(pattern="hid1:out"))
    assert regularizer.weight == 0
    assert record[0].filename == __file__


def test_an_instance_is_used_as_it_is_under_any_label():
    regularizer = HiddenL1(weight=0.1)
    regs = regkit.build(no_such_alias=regularizer, hidden_l1=HiddenL1(weight=0.2))
    assert regs[0] is regularizer
    assert regs["hidden_l1"].weight == 0.2


@pytest.mark.parametrize("sequence", [list, tuple])
def test_a_list_is_one_regularizer_each_and_none_in_it_is_not_used(sequence):
    regs = regkit.build(hidden_l1=sequence([0.1, None, dict(weight=0.2), HiddenL1(weight=0.3)]))
    assert [regularizer.weight for regularizer in regs] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("nothing", [None, [], (), [None]])
def test_an_alias_that_is_not_used_is_still_held_to_be_there(nothing):
    assert len(regkit.build(hidden_l1=nothing)) == 0
    assert message(regkit.UnknownAliasError, hiden_l1=nothing).startswith(
        "no installed plugin provides 'hiden_l1'. Did"
    )


def test_an_alias_in_conflict_that_is_not_used_is_not_asked_for(installed):
    installed("conflict")
    assert len(regkit.build(hidden_l1=None)) == 0


def test_options_come_as_a_mapping_with_keywords_after_it():
    regs = regkit.build({"hidden_l1": {"weight": 0.1}}, other=HiddenL1())
    assert repr(regs) == "build(hidden_l1=0.1, other=HiddenL1())"


@pytest.mark.parametrize(
    "value",
    [True, np.bool_(True), float("nan"), float("inf"), -0.1, np.float32(-1), 10**400, "0.1", b"1", 1j, object, {1},
     np.array([0.1, 0.2]), np.array([0.1]), np.array("x"), np.ma.masked,
     lambda: 0.1],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_anything_else_is_refused_with_alias_class_argument_value_and_what_is_accepted(value):
    assert message(regkit.OptionError, hidden_l1=value) == (
        f"alias 'hidden_l1': HiddenL1 got weight={value!r}; accepted: {ACCEPTED}"
    )


def test_a_weight_within_a_mapping_is_checked_as_well():
    assert message(regkit.OptionError, hidden_l1=dict(weight="0.1")) == (
        "alias 'hidden_l1': HiddenL1 got weight='0.1'; accepted: "
        "a finite real number of at least 0, a regkit.Live of one, or a scalar of a graph library"
    )


def test_a_list_within_a_list_is_refused():
    assert message(regkit.OptionError, hidden_l1=[[0.1]]) == (
        f"alias 'hidden_l1' got a list within a list: [0.1]; accepted: {ACCEPTED}"
    )


def test_a_misspelt_constructor_argument_is_named_with_the_nearest_one():
    assert message(regkit.OptionError, hidden_l1=dict(weight=0.1, patern="hid1:out")) == (
        "alias 'hidden_l1': HiddenL1 got patern='hid1:out', which is not an argument of it. Did you mean 'pattern'? "
        "Accepted: pattern, weight, reduction"
    )


@pytest.mark.parametrize("pattern", [3, [], ["hid1:out", 3], b"hid1:out", {"hid1:out": 1}])
def test_a_pattern_that_is_no_glob_is_refused(pattern):
    assert message(regkit.OptionError, hidden_l1=dict(weight=0.1, pattern=pattern)) == (
        f"alias 'hidden_l1': HiddenL1 got pattern={pattern!r}; accepted: None, a glob, or a list of one or more globs"
    )


def an_object_with(method):
    return type("Plain", (), {method: lambda self, outputs: None})()


@pytest.mark.parametrize("method", ["loss", "modify_graph"])
@pytest.mark.parametrize("alias", ["my_own", "hidden_l1"])
def test_an_object_with_an_unmarked_hook_is_refused_with_the_two_ways_to_write_its_class(alias, method):
    assert message(regkit.OptionError, **{alias: an_object_with(method)}) == (
        f"alias {alias!r} got an object of type Plain, which has a method named as a hook. "
        "Let its class be a subclass of regkit.Regularizer, or mark its hooks with @regkit.hookimpl"
    )


@pytest.mark.parametrize("alias", ["my_own", "hidden_l1"])
def test_a_class_in_the_place_of_an_instance_is_refused(alias):
    assert message(regkit.OptionError, **{alias: HiddenL1}) == (
        f"alias {alias!r} got the class HiddenL1. Pass an instance: HiddenL1(...)"
    )


def test_two_aliases_of_one_target_are_refused_by_name():
    assert message(regkit.OptionError, hidden_l1=0.1, hidden_sparsity=0.2) == (
        "aliases 'hidden_l1' and 'hidden_sparsity' are the same regularizer. Give one of them"
    )


def test_a_registered_alias_of_an_installed_class_is_the_same_regularizer():
    regkit.register(HiddenL1, "mine")
    assert message(regkit.OptionError, mine=1, hidden_l1=1).startswith("aliases 'mine' and 'hidden_l1' are the same")


def test_two_aliases_of_one_target_are_fine_where_one_is_not_used_or_only_a_label():
    assert len(regkit.build(hidden_l1=0.1, hidden_sparsity=None)) == 1
    assert len(regkit.build(hidden_l1=0.1, hidden_sparsity=HiddenL1(weight=0.1))) == 2


def test_a_name_in_the_mapping_and_in_the_keywords_is_refused():
    with pytest.raises(regkit.OptionError, match="alias 'hidden_l1' is in the mapping and in the keywords"):
        regkit.build({"hidden_l1": 0.1}, hidden_l1=0.1)


@pytest.mark.parametrize("options", [0.1, ["hidden_l1"], "hidden_l1"])
def test_options_that_are_no_mapping_are_refused(options):
    with pytest.raises(regkit.OptionError, match="accepted: a mapping of aliases to values, and keywords"):
        regkit.build(options)


def test_an_alias_that_is_no_name_is_refused():
    with pytest.raises(regkit.OptionError, match="build got the alias 3"):
        regkit.build({3: 0.1})


def test_the_error_of_a_constructor_names_the_alias():
    class Even(regkit.Regularizer):
        def __init__(self, order, weight=0.0):
            super().__init__(None, weight)
            if order % 2:
                raise ValueError("order must be even")
            self.order = order

        def loss(self):
            return 0.0

    regkit.register(Even, "even")
    assert message(regkit.OptionError, even=dict(weight=0.1, order=3)) == (
        "alias 'even': Even(weight=0.1, order=3) is refused: order must be even"
    )
    assert (
        message(regkit.OptionError, even=0.1)
        == "alias 'even': Even needs the argument 'order'. Accepted: order, weight"
    )
    assert regkit.build(even=dict(order=2, weight=0.1))[0].order == 2


@pytest.mark.parametrize("value", [0.1, dict(weight=0.1), [0.1]])
def test_a_constructor_is_called_once_also_where_it_refuses(value):
    calls = []

    class RefusesOnce(regkit.Regularizer):
        def __init__(self, pattern=None, weight=0.0):
            super().__init__(pattern, weight)
            calls.append(weight)
            if len(calls) == 1:
                raise RuntimeError("not yet")

        def loss(self):
            return 0.0

    regkit.register(RefusesOnce, "refuses_once")
    assert message(regkit.OptionError, refuses_once=value) == (
        "alias 'refuses_once': RefusesOnce(weight=0.1) is refused: not yet"
    )
    assert calls == [0.1]


def test_names_are_looked_at_before_a_constructor_is_called():
    class Counts(regkit.Regularizer):
        def __init__(self, pattern=None, weight=0.0, **others):
            raise AssertionError("called")

        def loss(self):
            return 0.0

    regkit.register(Counts, "counts")
    assert "patern='hid*', which is not an argument of it" in message(regkit.OptionError, counts=dict(patern="hid*"))


def test_load_returns_the_class_of_an_alias_and_raises_as_build_does():
    assert regkit.load("hidden_sparsity") is HiddenL1
    with pytest.raises(regkit.UnknownAliasError, match="Did you mean 'hidden_sparsity'"):
        regkit.load("hiden_sparsity")
    with pytest.raises(regkit.OptionError, match="load got 3; accepted: the name of an alias"):
        regkit.load(3)


#: The arguments that aliases need.
NEEDED = {"weight_distance": {"reference": {"hid.w": [[1.0, 2.0]]}}}


def in_toml(value):
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(key)} = {in_toml(one)}' for key, one in value.items())} }}"
    return json.dumps(value)


@pytest.mark.parametrize("alias", sorted(regkit.available()))
def test_the_config_of_every_alias_goes_through_toml_and_back(alias):
    config = regkit.build({alias: {"weight": 0.1, **NEEDED.get(alias, {})}}).config()
    written = f"[{alias}]\n" + "".join(f"{key} = {in_toml(value)}\n" for key, value in config[alias].items())
    assert regkit.build(tomllib.loads(written)).config() == config


# Aliases


def test_the_error_of_an_unknown_alias_has_the_nearest_and_the_first_twenty():
    expected = "no installed plugin provides 'hiden_sparsity'. Did you mean 'hidden_sparsity'? Installed aliases: "
    aliases = sorted(regkit.available())
    assert message(regkit.UnknownAliasError, hiden_sparsity=0.1).startswith(
        f"{expected}{', '.join(aliases[:20])} and {len(aliases) - 20} more"
    )


def test_an_alias_of_two_distributions_is_refused_when_asked_for_and_only_then(installed):
    installed("conflict", "healthy")
    regkit.build(acme_healthy=0.1, hidden_sparsity=0.1)
    assert message(regkit.AliasConflictError, hidden_l1=0.1) == (
        "alias 'hidden_l1' is claimed by 2 distributions: acme-l1 2.1 (acme_l1:L1), "
        f"regkit-hidden-l1 {version('regkit-hidden-l1')} (regkit_hidden_l1:HiddenL1). "
        "Uninstall one, or pass an instance: build(hidden_l1=L1(...)), "
        "or name the distribution: build({'acme-l1:hidden_l1': ...})"
    )
    assert regkit.build(hidden_l1=HiddenL1(weight=0.1))["hidden_l1"].weight == 0.1


@pytest.mark.parametrize(
    ("name", "module"),
    [("acme-l1", "acme_l1"), ("Acme_L1", "acme_l1"), ("regkit-hidden-l1", "regkit_hidden_l1")],
)
def test_a_conflict_is_settled_by_the_name_of_a_distribution_before_the_alias(installed, name, module):
    installed("conflict")
    regs = regkit.build({f"{name}:hidden_l1": 0.1})
    assert type(regs[0]).__module__ == module
    assert regkit.load(f"{name}:hidden_l1").__module__ == module
    assert list(regs.config()) == [f"{name}:hidden_l1"]
    assert regkit.build(regs.config()) == regs
    assert regkit.split({f"{name}:hidden_l1": 0.1, "other": 1}) == ({f"{name}:hidden_l1": 0.1}, {"other": 1})


@pytest.mark.parametrize(
    "alias", ["acme:hidden_l1", "hidden_l1:acme-l1", "acme-l1:hidden_sparsity", "acme-l1:", ":hidden_l1"]
)
def test_a_distribution_that_does_not_claim_the_alias_is_an_unknown_alias(installed, alias):
    installed("conflict")
    assert message(regkit.UnknownAliasError, **{alias: 0.1}).startswith(f"no installed plugin provides {alias!r}.")


def test_the_error_of_a_distribution_that_does_not_claim_the_alias_names_those_that_do(installed):
    installed("conflict")
    assert "Did you mean 'acme-l1:hidden_l1' or 'regkit-hidden-l1:hidden_l1'?" in message(
        regkit.UnknownAliasError, **{"acme-l2:hidden_l1": 0.1}
    )


def test_an_alias_that_has_a_colon_itself_is_that_alias(installed, tmp_path, monkeypatch):
    folder = tmp_path / "acme_colon-1.0.dist-info"
    folder.mkdir()
    (folder / "entry_points.txt").write_text("[regkit.regularizers]\nregkit-hidden-l1:hidden_l1 = acme_l1:L1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    installed("conflict")
    assert regkit.load("regkit-hidden-l1:hidden_l1").__module__ == "acme_l1"


@pytest.mark.parametrize("blocked", ["acme-l1", "Acme.L1", " other , acme_l1,"])
def test_a_blocked_distribution_claims_nothing(installed, monkeypatch, blocked):
    monkeypatch.setenv("REGKIT_BLOCK", blocked)
    installed("conflict")
    assert regkit.load("hidden_l1") is HiddenL1
    assert [claim.distribution for claim in regkit.available()["hidden_l1"]] == ["regkit-hidden-l1"]


def test_the_error_of_an_alias_of_a_blocked_distribution_names_the_variable(installed, monkeypatch):
    monkeypatch.setenv("REGKIT_BLOCK", "acme-healthy")
    installed("healthy")
    expected = (
        "no installed plugin provides {!r}. acme-healthy 1.0 (acme_healthy:Healthy) claims it, and REGKIT_BLOCK leaves "
        "it out. Installed aliases: "
    )
    for alias in ("acme_healthy", "acme-healthy:acme_healthy"):
        assert message(regkit.UnknownAliasError, **{alias: 0.1}).startswith(expected.format(alias))


@pytest.mark.parametrize(
    ("case", "alias", "provider", "reason"),
    [
        ("import_fails", "acme_broken", "acme-broken 1.0 (acme_broken:Broken)",
         "ModuleNotFoundError: No module named 'a_module_that_nobody_has'"),
        ("exits_on_import", "acme_exits", "acme-exits 1.0 (acme_exits:Exits)",
         "SystemExit: 3"),
        ("names_missing", "acme_missing", "acme-missing 1.0 (acme_missing:Misnamed)",
         "AttributeError: module 'acme_missing' has no attribute 'Misnamed'"),
        ("names_missing", "acme_moduleless", "acme-missing 1.0 (acme_missing)",
         "ImportError: the entry point names no class, which is written module:Class"),
        ("no_regularizer", "acme_function", "acme-function 1.0 (acme_function:penalty)",
         "ImportError: penalty is of type function, not a class"),
    ],
)  # fmt: skip
def test_a_plugin_that_cannot_be_loaded_is_named_and_the_others_go_on(installed, case, alias, provider, reason):
    installed(case, "healthy")
    assert message(regkit.PluginLoadError, **{alias: 0.1}) == (
        f"alias {alias!r} of {provider} could not be loaded: {reason}. "
        "Fix or uninstall it; other plugins are unaffected"
    )
    regkit.build(acme_healthy=0.1, hidden_l1=0.1)


def test_a_class_without_hooks_and_one_with_a_misspelt_argument_are_refused_when_first_used(installed):
    installed("no_regularizer", "misspelt_argument", "healthy")
    assert message(regkit.HookSignatureError, acme_plain_class=0.1) == (
        "acme_function.Plain has no hook. Override one of modify_graph(self, outputs, layers), "
        "loss(self, layers, outputs), after_step(self, params, amount, layers, divisors), "
        "metrics(self, layers, outputs), log(self)"
    )
    assert message(regkit.HookSignatureError, acme_misspelt=0.1) == (
        "acme_misspelt.Misspelt.loss has unknown argument 'ouputs'. "
        "Expected loss(self, layers, outputs), or fewer of these arguments"
    )
    regkit.build(acme_healthy=0.1)


def test_errors_are_of_the_built_in_kinds_that_callers_may_expect():
    kinds = {
        regkit.UnknownAliasError: LookupError,
        regkit.PluginLoadError: ImportError,
        regkit.HookSignatureError: TypeError,
        regkit.OptionError: ValueError,
        regkit.NoMatchError: LookupError,
        regkit.GraphError: ValueError,
        regkit.AliasConflictError: Exception,
    }
    for error, kind in kinds.items():
        assert issubclass(error, regkit.RegkitError)
        assert issubclass(error, kind)
        assert not issubclass(error, KeyError)


# split and register


def test_split_keeps_what_is_no_alias_in_order_and_reads_no_value():
    marker = object()
    options, rest = regkit.split({"train": marker, "hidden_l1": marker, "algorithm": "nag", "hidden_sparsity": 1})
    assert list(options.items()) == [("hidden_l1", marker), ("hidden_sparsity", 1)]
    assert list(rest.items()) == [("train", marker), ("algorithm", "nag")]


def test_split_warns_of_a_keyword_that_is_nearly_an_alias():
    with pytest.warns(
        UserWarning, match="keyword 'hiden_sparsity' is not a regularizer. Did you mean 'hidden_sparsity'?"
    ):
        options, rest = regkit.split({"hiden_sparsity": 0.1, "momentum": 0.9})
    assert (options, list(rest)) == ({}, ["hiden_sparsity", "momentum"])


def train(data, /, hidden_l1, *args, learning_rate=0.1, **kwargs):
    raise AssertionError("it is not called")


class Trainer:
    def __init__(self, hidden_l1, learning_rate=0.1, **kwargs):
        raise AssertionError("it is not called")


@pytest.mark.parametrize(
    "own",
    [train, Trainer, partial(train, None, learning_rate=0.2), ["hidden_l1", "learning_rate"], {"hidden_l1"},
     {"hidden_l1": None}.keys(), ("hidden_l1",)],
    ids=["function", "class", "partial", "list", "set", "keys", "tuple"],
)  # fmt: skip
def test_a_keyword_of_the_host_stays_the_hosts_and_a_distribution_that_claims_it_is_named(own):
    with pytest.warns(UserWarning, match="keyword 'hidden_l1' stays the host's") as record:
        options, rest = regkit.split({"hidden_l1": 0.1, "hidden_sparsity": 1, "learning_rate": 0.01}, own=own)
    assert (options, rest) == ({"hidden_sparsity": 1}, {"hidden_l1": 0.1, "learning_rate": 0.01})
    (warning,) = record
    assert str(warning.message) == (
        "keyword 'hidden_l1' stays the host's, and is claimed as an alias by regkit-hidden-l1 "
        f"{version('regkit-hidden-l1')} (regkit_hidden_l1:HiddenL1). Give the regularizer another alias, or uninstall "
        "it"
    )
    assert warning.filename == __file__


@pytest.mark.parametrize("name", ["data", "args", "kwargs"])
def test_a_parameter_that_takes_no_keyword_does_not_keep_an_alias(name):
    regkit.register(Mine, name)
    assert regkit.split({name: 0.1}, own=train) == ({name: 0.1}, {})


def test_a_keyword_of_the_host_that_is_nearly_an_alias_is_not_taken_for_a_misspelling():
    assert regkit.split({"hidden_l1s": 0.1}, own=["hidden_l1s"]) == ({}, {"hidden_l1s": 0.1})


def test_without_the_hosts_keywords_an_alias_is_an_alias():
    regkit.register(Mine, "learning_rate")
    assert regkit.split({"learning_rate": 0.5}) == ({"learning_rate": 0.5}, {})


@pytest.mark.parametrize("own", ["hidden_l1", b"hidden_l1", 3, [3], [None, "hidden_l1"], type])
def test_the_hosts_keywords_are_a_function_or_names(own):
    with pytest.raises(regkit.OptionError) as error:
        regkit.split({"hidden_l1": 0.1}, own=own)
    assert str(error.value) == (f"split got own={own!r}; accepted: a function or class with a signature, or names")


class Mine(regkit.Regularizer):
    def loss(self):
        return 1.0


def test_a_registered_class_answers_to_its_alias_in_this_process():
    regkit.register(Mine, "mine", "my_own")
    assert type(regkit.build(my_own=0.1)[0]) is Mine
    assert regkit.available()["mine"] == ((None, None, f"{__name__}:Mine"),)
    assert regkit.split({"mine": 1})[0] == {"mine": 1}
    assert message(regkit.OptionError, mine=1, my_own=1).startswith("aliases 'mine' and 'my_own' are the same")
    regkit.refresh()
    assert type(regkit.build(mine=0.1)[0]) is Mine


def test_registering_a_taken_alias_is_refused_unless_replacing_is_meant():
    with pytest.raises(regkit.AliasConflictError) as error:
        regkit.register(Mine, "mine", "hidden_l1")
    assert str(error.value) == (
        f"alias 'hidden_l1' belongs to regkit-hidden-l1 {version('regkit-hidden-l1')} (regkit_hidden_l1:HiddenL1). "
        "Choose another, or pass replace=True to use Mine for it in this process"
    )
    assert "mine" not in regkit.available()
    regkit.register(Mine, "hidden_l1", replace=True)
    assert type(regkit.build(hidden_l1=0.1)[0]) is Mine
    regkit.register(Mine, "hidden_l1")


def redefined(name="Again", module=__name__, value=1.0):
    """A class as a cell of a notebook defines it each time that it runs."""

    def loss(self):
        return value

    return type(name, (regkit.Regularizer,), {"__module__": module, "__qualname__": name, "loss": loss})


def test_a_class_that_is_defined_again_takes_the_place_of_the_former():
    for value in (1.0, 2.0):
        regkit.register(redefined(value=value), "again", "again_too")
        assert regkit.build(again=1.0).loss([], {}) == value
        assert regkit.build(again_too=1.0).loss([], {}) == value


@pytest.mark.parametrize("other", [redefined("Other"), redefined(module="another_module")])
def test_a_class_of_another_name_or_module_does_not_take_the_place_of_the_former(other):
    first = redefined()
    regkit.register(first, "again")
    with pytest.raises(regkit.AliasConflictError, match=r"belongs to .*:Again \(registered in this process\)"):
        regkit.register(other, "again")
    assert regkit.load("again") is first


def with_an_order():
    """Return a new class with an option, ``order``."""

    class Mine(regkit.Regularizer):
        def __init__(self, pattern=None, weight=0.0, order=1):
            regkit.Regularizer.__init__(self, pattern, weight)
            self.order = order

        def loss(self):
            return 1.0

    return Mine


def test_a_constructor_whose_code_is_replaced_is_read_again():
    """As IPython's autoreload replaces it: within the function, which stays the same object."""

    def newer(self, pattern=None, weight=0.0, degree=2, *, base=3):
        regkit.Regularizer.__init__(self, pattern, weight)
        self.degree, self.base = degree, base

    cls = with_an_order()
    regkit.register(cls, "mine")
    assert regkit.build(mine=dict(weight=0.1, order=5)).config()["mine"] == {"weight": 0.1, "order": 5}
    for attribute in ("__code__", "__defaults__", "__kwdefaults__"):
        setattr(cls.__init__, attribute, getattr(newer, attribute))
    regs = regkit.build(mine=dict(weight=0.1, degree=4))
    assert regs.config()["mine"] == {"weight": 0.1, "degree": 4, "base": 3}
    assert "order=5, which is not an argument of it. Accepted: pattern, weight, degree, base" in message(
        regkit.OptionError, mine=dict(weight=0.1, order=5)
    )


def test_a_default_of_a_constructor_that_is_replaced_is_read_again():
    cls = with_an_order()
    regkit.register(cls, "mine")
    assert repr(regkit.build(mine=dict(weight=0.1, order=2))) == "build(mine=dict(weight=0.1, order=2))"
    cls.__init__.__defaults__ = (None, 0.0, 2)
    assert repr(regkit.build(mine=dict(weight=0.1, order=2))) == "build(mine=0.1)"


@pytest.mark.parametrize(("cls", "names"), [(3, ("x",)), (Mine, ()), (Mine, ("",)), (Mine, (3,))])
def test_registering_needs_a_class_and_names(cls, names):
    with pytest.raises(regkit.OptionError, match="register got"):
        regkit.register(cls, *names)


def test_registering_checks_the_hooks():
    with pytest.raises(regkit.HookSignatureError, match="has no hook"):
        regkit.register(int, "integer")


def test_a_constructor_that_takes_anything_is_not_given_a_misspelt_name():
    class TakesAnything(regkit.Regularizer):
        def __init__(self, pattern=None, weight=0.0, **ignored):
            super().__init__(pattern, weight)

        def loss(self):
            return 1.0

    regkit.register(TakesAnything, "takes_anything")
    with pytest.raises(
        regkit.OptionError, match="patern='hid.', which is not an argument of it. Did you mean 'pattern'"
    ):
        regkit.build(takes_anything=dict(weight=0.1, patern="hid*"))
    assert regkit.build(takes_anything=0.1)[0].weight == 0.1


@pytest.mark.parametrize("given", ["hidden_l1", None, [("hidden_l1", 0.1)]])
def test_split_of_what_is_no_mapping_is_refused(given):
    with pytest.raises(regkit.OptionError) as error:
        regkit.split(given)
    assert str(error.value) == f"split got {given!r}; accepted: a mapping of keywords to values"
