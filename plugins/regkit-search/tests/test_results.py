"""What a search hands back: tables, pictures, paths."""

from __future__ import annotations

import io

import numpy as np
import optuna
import pytest
import regkit_search as search
from optuna.distributions import FloatDistribution

import regkit


def png(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def dots(axes):
    return {collection.get_label(): collection.get_offsets().tolist() for collection in axes.collections}


def test_the_plot_has_a_panel_for_each_measure_on_a_log_axis(prepare, space):
    pruner = optuna.pruners.ThresholdPruner(upper=1.7)
    result = search.run(prepare, space, minimize="distance", trials=12, pruner=pruner)
    figure = result.plot()
    assert png(figure).startswith(b"\x89PNG")
    assert [axes.get_ylabel() for axes in figure.axes] == ["distance (minimize)", "penalty", "seed"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "hidden_l1.weight"]
    first, second, _ = figure.axes
    assert first.get_xscale() == "log"
    frame = result.frame()
    drawn = dots(first)
    pruned = frame[frame["state"] == "pruned"]
    assert drawn["pruned"] == pruned[["hidden_l1.weight", "distance"]].to_numpy().tolist()
    assert drawn["best"] == [[result.best["hidden_l1"]["weight"], frame["distance"][frame.state == "complete"].min()]]
    faint = next(one for one in first.collections if one.get_label() == "pruned")
    assert faint.get_alpha() < 0.5
    across, up = zip(*dots(second)["complete"], *dots(second)["best"])
    np.testing.assert_allclose(up, 2 * np.array(across))


def labels(figure):
    """Names that are written on the panels of a figure."""
    written = [one for axes in figure.axes for one in (axes.xaxis.label, axes.yaxis.label, *axes.texts)]
    return sorted(one.get_text() for one in written if one.get_text())


def test_the_plot_of_several_aims_has_their_front_and_each_name_once(space):
    def prepare(regs):
        def evaluate(trial):
            weight = regs[0].weight.value
            return {"a": weight, "b": weight**2, "size": trial.params["rate"]}

        return evaluate

    parameters = {"rate": FloatDistribution(1, 2)}
    result = search.run(prepare, space, parameters=parameters, minimize="a", maximize="b", trials=6)
    figure = result.plot()
    assert labels(figure) == ["b (maximize)", "hidden_l1.weight", "size", "← a (minimize) ↓"]
    (front,) = [axes for axes in figure.axes if axes.lines]
    (line,) = front.lines
    assert line.get_xydata().tolist() == [[one.aims["a"], one.aims["b"]] for one in result.front]
    assert front.get_subplotspec().rowspan.start == 1
    assert front.get_subplotspec().colspan.start == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Pareto front"]
    empty = [axes for axes in figure.axes if not axes.collections]
    assert [axes.texts[0].get_text() for axes in empty] == ["← a (minimize) ↓"]


def test_a_notebook_shows_the_best_first_and_text_of_others_escaped(space):
    def prepare(regs):
        def evaluate(trial):
            if trial.number == 0:
                raise ValueError("<script>")
            return {"weight": regs[0].weight.value}

        return evaluate

    result = search.run(prepare, space, minimize="weight", trials=12)
    shown = result._repr_html_()
    assert "<script>" not in shown
    assert "and 2 more" in shown
    assert shown.index(f"<td>{result.front[0].number}</td>") < shown.index("<td>0</td>")
    assert repr(result) == "<search of hidden_l1.weight: 11 complete, 1 failed>"


def test_a_search_in_which_all_fails_says_why_it_has_no_best(space):
    def prepare(regs):
        raise ValueError("no data")

    result = search.run(prepare, space, minimize="weight", trials=2)
    with pytest.raises(search.SearchError, match="none of 2 trials is complete. The first that failed: ValueError: no"):
        result.best  # noqa: B018 - it raises
    assert "failed" in result._repr_html_()


def lasso_step(regs):
    """Proximal gradient steps of a lasso with orthonormal columns, whose solution is soft thresholding."""
    target = np.array([3.0, -1.0, 0.5])

    def evaluate(trial):
        weight = regs["weight_l1"].weight.value
        solution = np.zeros(3) if trial.start is None else trial.start
        steps = 0
        while True:
            moved = solution - 0.5 * (solution - target)
            after = np.sign(moved) * np.maximum(abs(moved) - 0.5 * weight, 0)
            steps += 1
            if abs(after - solution).max() < 1e-9:
                break
            solution = after
        trial.keep = solution
        return {"norm": abs(solution).sum(), "nonzero": (solution != 0).sum(), "steps": steps}

    return evaluate


def test_a_path_goes_on_from_the_last_weight():
    weights = [4.0, 2.0, 0.7, 0.0]
    walked = search.path(lasso_step, "weight_l1", weights)
    frame = walked.frame()
    wanted = [sum(max(abs(one) - weight, 0) for one in (3.0, -1.0, 0.5)) for weight in weights]
    np.testing.assert_allclose(frame["norm"], wanted, atol=1e-7)
    assert list(frame["nonzero"]) == [0, 1, 2, 3]
    assert list(frame["weight_l1.weight"]) == weights
    cold = [search.path(lasso_step, "weight_l1", [weight]).frame()["steps"][0] for weight in weights]
    assert frame["steps"][3] < cold[3]
    assert walked.plot().axes[0].get_xscale() == "symlog"
    assert repr(walked) == "<path of weight_l1: 4 weights from 4 to 0>"
    assert "<td>4.0</td>" in walked._repr_html_()


def test_a_path_does_not_go_on_from_a_trial_that_failed():
    def prepare(regs):
        def evaluate(trial):
            trial.keep = regs[0].weight.value
            if trial.number == 1:
                raise ValueError("diverged")
            return {"start": trial.start if trial.start is not None else -1}

        return evaluate

    frame = search.path(prepare, "hidden_l1", [3, 2, 1], {"hidden_l1": {"pattern": "hid1"}}).frame()
    assert list(frame["state"]) == ["complete", "failed", "complete"]
    assert frame["start"][2] == 3
    assert frame["failure"][1].startswith("ValueError: diverged")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("hidden_l1", []), "path got no weights"),
        (("hidden_l1", [0.1, -1]), "got weight=-1"),
        (("hidden_dropout", [0.5, 1]), "HiddenDropout got weight=1"),
        (("hiden_l1", [0.1]), "Did you mean 'hidden_l1'"),
        (("hidden_l1", [0.1], {"hidden_l1": {"weight": 1}}), "accepted: further arguments, without the weight"),
    ],
)
def test_a_path_that_could_not_be_walked_is_refused(arguments, told):
    with pytest.raises(regkit.RegkitError) as caught:
        search.path(lambda regs: None, *arguments)
    assert told in str(caught.value)


def test_a_distribution_with_a_step_keeps_to_its_steps():
    def prepare(regs):
        return lambda trial: {"weight": regs[0].weight.value}

    frame = search.run(prepare, {"hidden_l1": FloatDistribution(0, 1, step=0.25)}, minimize="weight", trials=6).frame()
    assert set(frame["weight"]) <= {0, 0.25, 0.5, 0.75, 1}
