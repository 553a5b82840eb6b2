"""What aliases are called elsewhere: read only when an alias is not found."""

from __future__ import annotations

#: An alias, and the names by which people who come from other libraries and from papers ask for it.
_NAMES = {
    "hidden_l1": "l1 activity_l1 activation_l1 activity_regularizer activity_regularization sparsity sparse",
    "hidden_l2": "l2 activity_l2 activation_l2 activity_regularizer activity_regularization",
    "hidden_kl": "kl kld kl_div kl_divergence kl_sparsity sparse_kl sparsity sparse",
    "hidden_variation": "tv total_variation tv_loss variation smoothness",
    "hidden_decorrelation": "decov decorrelation covariance cov orthogonal_activations",
    "hidden_hoyer": "hoyer deep_hoyer hoyer_square",
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
    "input_noise": "denoising",
    "recurrent_norm": "norm_stabilizer norm_stabilization",
    "recurrent_state": "temporal_smoothness slowness activity_difference tar temporal_activation_regularization",
}


def meant_elsewhere(name: str) -> list[str]:
    """Return the aliases that a name means elsewhere, the likeliest first; whether they are installed is not asked.

    Examples
    --------
    >>> meant_elsewhere("L1_L2"), meant_elsewhere("activity-l1")
    (['elastic_net'], ['hidden_l1'])
    """
    plain = name.lower().replace("-", "_").replace(" ", "_")
    return [alias for alias, names in _NAMES.items() if plain in names.split()]
