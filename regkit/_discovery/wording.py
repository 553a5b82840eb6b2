"""The errors of an alias: unknown, in conflict, or not importable; and the names that other libraries use."""

from __future__ import annotations

import os
import sys

from .._messages import STANDARD_PLUGINS, escaped, installing, listed, nearest
from ..errors import AliasConflictError, PluginLoadError, RegkitError, UnknownAliasError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .claims import Claim, HiddenClaim, Installed

#: How many aliases an error suggests.
_SUGGESTED = 4


def not_one_target(alias: str, installed: Installed, registered: Iterable[str]) -> RegkitError:
    """Return the error of an alias without a claim, or with several targets."""
    claims = installed.claims(alias)
    if claims:
        return AliasConflictError(_conflict(alias, claims))
    aliases = sorted({*installed.aliases, *registered})
    name = alias.partition(":")[2] or alias  # of acme-l1:hidden_l1
    one_of = [f"{claim.distribution}:{name}" for claim in installed.claims(name)]
    left_out = [] if one_of else list(map(hidden_in_words, installed.hidden_claims(name)))
    left_out += [f"{claim} claims it, and REGKIT_BLOCK leaves it out." for claim, _ in installed.blocked_claims(name)]
    meant = one_of or ([] if left_out else _meant(alias, aliases))
    return UnknownAliasError(_unknown(alias, left_out, meant, aliases, installed.problems))


def not_loaded(alias: str, claims: Iterable[Claim], module: str, error: BaseException) -> PluginLoadError:
    """Return the error of an alias whose plugin cannot be imported."""
    try:
        message = escaped(str(error), keep="\n\t")
    except Exception:  # the plugin's class of errors is wrong too
        message = "(its message cannot be shown)"
    return PluginLoadError(
        f"alias {alias!r} of {', '.join(map(str, claims))} could not be loaded: {type(error).__name__}: {message}. "
        f"{shadowing(module) or 'Fix or uninstall it'}; other plugins are unaffected"
    )


def shadowing(module: str) -> str:
    """Return which file is imported as a module's package, and which files it shadows; an empty string if none."""
    package = module.partition(".")[0]
    files = list(dict.fromkeys(_files(package)))
    if len(files) < 2:
        return ""
    first, *others = map(escaped, files)
    return f"{package} is imported from {first}, which shadows {', '.join(others)}. Rename or remove one of them"


def _files(package: str) -> Iterator[str]:
    """Yield the file from which a package was imported, then those from which it could be, in the order of the path."""
    from importlib.machinery import PathFinder

    imported = getattr(sys.modules.get(package), "__file__", None)
    if imported:
        yield os.path.realpath(imported)
    for finder in list(sys.meta_path):
        for path in [[entry] for entry in sys.path] if finder is PathFinder else [None]:
            try:
                spec = finder.find_spec(package, path)
            except Exception:  # of a third party's finder
                continue
            if spec is not None and spec.has_location and spec.origin:
                yield os.path.realpath(spec.origin)


def hidden_in_words(hidden: HiddenClaim) -> str:
    """Return which copy of a distribution hides a claim, and what to do."""
    return (
        f"{hidden.claim} claims it in {escaped(hidden.folder)}, and is hidden by {escaped(hidden.hidden_by)}, earlier "
        "on the path. Uninstall the copy that is not meant."
    )


def _unknown(alias: str, left_out: list[str], meant: list[str], aliases: list[str], problems: list[str]) -> str:
    suggested = " or ".join(map(repr, meant))
    installed = listed(aliases) if aliases else f"none. The standard plugins, {installing(STANDARD_PLUGINS)}"
    unreadable = "".join(f"\nNot readable: {problem}" for problem in problems)
    return (
        f"no installed plugin provides {alias!r}.{''.join(f' {claim}' for claim in left_out)}"
        f"{f' Did you mean {suggested}?' if suggested else ''} Installed aliases: {installed}{unreadable}"
    )


def _meant(alias: str, aliases: list[str]) -> list[str]:
    """Return the aliases that a name means in other libraries, or that contain it as a word; else the most similar."""
    words = [name for name in aliases if alias in name.split("_")]
    common = [name for name in meant_elsewhere(alias) if name in aliases]
    if common:
        return list(dict.fromkeys([*common, *words]))[:_SUGGESTED]
    suggestion = nearest(alias, aliases, cutoff=0.6)
    if suggestion is not None:
        return [suggestion]
    return (words or [name for name in aliases if len(alias) > 1 and alias in name])[:_SUGGESTED]


def _conflict(alias: str, claims: tuple[Claim, ...]) -> str:
    instance = escaped(f"{claims[0].target.rpartition(':')[2]}(...)")
    written = f"{alias}={instance}" if alias.isidentifier() else f"{{{alias!r}: {instance}}}"
    distributions = {claim.distribution for claim in claims}
    claimants = "distributions" if len({claim[:2] for claim in claims}) > 1 else "entry points of one distribution"
    by_name = escaped(f"{claims[0].distribution}:{alias}")
    one_of_them = (
        f", or name the distribution: build({{{by_name!r}: ...}})" if len(distributions) == len(claims) else ""
    )
    return (
        f"alias {alias!r} is claimed by {len(claims)} {claimants}: "
        f"{', '.join(map(str, claims))}. "
        f"Uninstall one, or pass an instance: build({written}){one_of_them}"
    )


#: An alias, and the names that other libraries and papers use for it.
_NAMES = {
    "hidden_l1": "l1 activity_l1 activation_l1 activity_regularizer activity_regularization sparsity sparse",
    "hidden_l2": "l2 activity_l2 activation_l2 activity_regularizer activity_regularization",
    "hidden_kl": "kl kld kl_div kl_divergence kl_sparsity sparse_kl sparsity sparse",
    "hidden_variation": "tv total_variation tv_loss variation smoothness",
    "hidden_decorrelation": "decov decorrelation covariance cov orthogonal_activations",
    "hidden_hoyer": "hoyer deep_hoyer hoyer_square",
    "hidden_topk": "topk top_k k_sparse ksparse k_winners kwta k_winners_take_all winner_take_all batch_topk",
    "hidden_threshold": "jumprelu jump_relu thresholded_relu hard_threshold threshold",
    "weight_l1": "l1 lasso kernel_l1 l1_loss weights_l1 kernel_regularizer",
    "weight_l2": "l2 ridge kernel_l2 l2_loss weights_l2 decay tikhonov kernel_regularizer weight_norm wd",
    "elastic_net": "l1_l2 l1l2 l2_l1 elasticnet elastic",
    "group_lasso": "l21 l2_1 l1_2 group_l1 grouplasso group_sparsity structured_sparsity",
    "weight_orthogonal": "orthogonal orthogonality orthonormal ortho orthogonal_regularizer soft_orthogonality",
    "weight_spectral": "spectral spectral_norm spectral_normalization spectral_norm_regularization",
    "weight_max_norm": "weight_norm max_norm maxnorm norm_constraint kernel_constraint",
    "contractive": "jacobian jacobian_norm cae",
    "noise": "gaussian_noise gaussian normal_noise",
    "dropout": "drop",
    "hidden_dropout": "drop dropouts hidden_dropouts",
    "drop_path": "stochastic_depth droppath drop_layer layer_drop layerdrop",
    "input_noise": "denoising",
    "recurrent_norm": "norm_stabilizer norm_stabilization",
    "recurrent_state": "temporal_smoothness slowness activity_difference tar temporal_activation_regularization",
}


def meant_elsewhere(name: str) -> list[str]:
    """Return the aliases that a name means in other libraries, the likeliest first, installed or not.

    Examples
    --------
    >>> meant_elsewhere("L1_L2"), meant_elsewhere("activity-l1")
    (['elastic_net'], ['hidden_l1'])
    """
    plain = name.lower().replace("-", "_").replace(" ", "_")
    return [alias for alias, names in _NAMES.items() if plain in names.split()]
