"""What lesson 04 uses beside the loss: the toy circle, the toy task, its figures, and the experiment on the zoo."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from helpers.course.reproduce import recorded
from helpers.data.image_set import ImageSet
from helpers.detectors.ntf.detector import NaturalTraceConfig
from helpers.detectors.ntf.stage2_losses import hardness_weights, soft_contrastive_loss, soft_targets
from helpers.detectors.registry import make_detector
from helpers.generators.sets import TRAINING_GENERATORS
from helpers.lessons.lesson04 import figures as transfer_plots
from helpers.lessons.lesson04 import records
from helpers.lessons.lesson04.study import ARMS, FULL, Arm, all_scores, report_of
from helpers.lessons.lesson04.toys import Circle, CircleTask, Pairs, effective_count, information, on_circle, pulls

# the circle


def loss_at(angle: float, circle: Circle, temperature: float, sharpness: float) -> float:
    anchor, traces, fakes = on_circle([angle]), on_circle(circle.traces), on_circle(circle.fakes)
    targets = soft_targets(on_circle([circle.teacher]) @ traces.T, 0.1)
    targets = torch.cat([targets, torch.zeros(1, len(fakes))], dim=1)
    hardness = hardness_weights(on_circle([circle.anchor]), fakes, sharpness)
    weights = torch.cat([torch.ones(1, len(traces)), hardness], dim=1)
    return float(soft_contrastive_loss(anchor, torch.cat([traces, fakes]), targets, temperature, weights=weights))


@pytest.mark.parametrize(("temperature", "sharpness"), [(0.1, 0.0), (0.5, 0.0), (0.2, 4.0)])
def test_the_anchor_turns_against_the_slope_of_the_loss(temperature: float, sharpness: float) -> None:
    circle, step = Circle(), 1e-3
    result = pulls(circle, temperature, sharpness=sharpness)
    ahead, behind = (loss_at(circle.anchor + sign * step, circle, temperature, sharpness) for sign in (1, -1))
    assert result.turn == pytest.approx(-(ahead - behind) / np.radians(2 * step), rel=1e-4)
    assert float(result.gradient.sum()) == pytest.approx(0, abs=1e-12)
    assert bool((result.gradient[len(circle.traces) :] > 0).all())  # fakes push, all of them


def test_the_nearest_fake_takes_all_of_the_push_or_an_equal_share() -> None:
    assert pulls(Circle(), 0.02).nearest_share > 0.999
    assert pulls(Circle(), 1e4).nearest_share == pytest.approx(1 / len(Circle().fakes), abs=1e-3)


def test_hard_negatives_are_a_lower_temperature_for_fakes_alone() -> None:
    first = len(Circle().traces)
    weighted, colder = (
        pulls(Circle(), 0.5, sharpness=3).shares[first:],
        pulls(Circle(), 1 / (1 / 0.5 + 3)).shares[first:],
    )
    assert torch.allclose(weighted / weighted.sum(), colder / colder.sum(), atol=1e-12)


def test_effective_count_of_the_extremes() -> None:
    rows = torch.tensor([[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0]])
    assert effective_count(rows).tolist() == pytest.approx([1, 4, 2])


def test_a_target_that_is_the_same_for_all_tells_nothing() -> None:
    assert information(torch.tensor([[0.7, 0.2, 0.1]] * 5)) == pytest.approx(0, abs=1e-6)
    assert information(torch.eye(8)) == pytest.approx(np.log(8))
    assert information(torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])) == pytest.approx(np.log(2))


# the records


def test_differences_are_full_method_minus_the_variant_and_carry_their_sign() -> None:
    table = records.part_table().set_index(["part", "photographs"])
    variants = recorded("wild_ablation")["variants"]
    for part, variant in records.PARTS.items():
        for full, other in zip(variants["ntf"]["values"], variants[variant]["values"], strict=True):
            expected = full["metrics"]["ap"]["value"] - other["metrics"]["ap"]["value"]
            assert table.loc[(part, records.TIERS[full["tier"]]), "value"] == pytest.approx(expected, abs=2e-3)
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    assert records.interval_text({"value": -0.001, "low": -0.003, "high": 0}, signed=True) == "-0.001 [-0.003, +0.000]"


def test_the_training_generator_is_compared_on_the_same_test_generators() -> None:
    one, other = (recorded(f"wild_only_{name}")["variants"]["ntf"] for name in ("stable-diffusion-1", "stylegan2"))
    assert [mean["generators"] for mean in one["values"]] == [mean["generators"] for mean in other["values"]]
    rows = records.part_table()
    known = rows[(rows["part"] == records.DATA) & (rows["photographs"] == "known photo sources")].iloc[0]
    assert known["value"] == pytest.approx(0.811 - 0.581, abs=2e-3)


def test_tables_name_steps_and_both_kinds_of_photographs() -> None:
    prices = records.price_table()
    labelled = prices["steps with labels"].tolist()
    together = (prices["steps without labels"] + prices["steps with labels"]).tolist()
    assert together[0] == together[1]
    assert labelled[2] == labelled[3]
    wild = records.wild_table()
    assert list(wild.columns) == list(records.TIERS.values())
    assert wild.loc["natural traces minus cross-entropy"].str.startswith("+").all()
    assert not wild.loc["natural traces"].str.startswith("+").any()


def test_the_figure_of_parts_writes_every_signed_difference() -> None:
    table = records.part_table()
    (ax,) = transfer_plots.parts_figure(table).axes
    assert sorted(text.get_text() for text in ax.texts) == sorted(f"{value:+.3f}" for value in table["value"])
    assert [label.get_text() for label in ax.get_yticklabels()] == list(dict.fromkeys(table["part"]))
    plt.close("all")


# the toy task


def batch_of(rows: range) -> dict[str, torch.Tensor]:
    data = Pairs()
    return {name: torch.stack([data[row][name] for row in rows]) for name in ("photograph", "fake")}


@pytest.mark.parametrize("coupled", [False, True])
def test_halves_of_a_batch_add_up_unless_the_loss_couples_them(coupled: bool) -> None:
    task, rng = CircleTask(coupled), torch.Generator()
    whole, first, second = (
        task.losses("main", batch_of(rows), rng)["loss"].item() for rows in (range(16), range(8), range(8, 16))
    )
    gap = abs(whole - (first + second) / 2)
    assert gap > 0.05 if coupled else gap < 1e-12
    assert task.splittable is not coupled


# the experiment


def test_arms_differ_in_what_they_say_and_take_as_many_steps() -> None:
    base = NaturalTraceConfig(mapping_steps=8, steps=10)
    configs = {arm: arm.config(base) for arm in ARMS}
    assert {config.steps + getattr(config, "mapping_steps", 0) for config in configs.values()} == {18}
    assert {arm.mapped for arm in ARMS} == {True, False}
    assert [config.kind for arm, config in configs.items() if arm == Arm("none", mapped=False)] == ["cross_entropy"]
    transfer = configs[Arm("none", mapped=True)].transfer
    assert (transfer.contrast, transfer.repulsion, transfer.classification) == (0, 0, 1)
    assert [configs[Arm(kind, mapped=False)].transfer.targets for kind in ("soft", "hard", "uniform")] == [
        "soft",
        "hard",
        "uniform",
    ]


def test_all_scores_are_those_of_the_detector() -> None:
    detector = make_detector(NaturalTraceConfig(embedding=8, prototypes=4))
    rng = torch.Generator().manual_seed(0)
    detector.bank = torch.nn.functional.normalize(torch.randn(4, 8, generator=rng), dim=1)
    detector.centre, detector.spread = torch.tensor([0.1, -0.5, 0.2]), torch.tensor([2.0, 0.5, 1.5])
    images = [torch.randint(256, (3, 64, 64), generator=rng, dtype=torch.uint8) for _ in range(3)]
    rows = pd.DataFrame({"label": ["real", "fake", "real"], "generator": "", "family": "", "source": ""})
    result = all_scores(detector, ImageSet.of(images, rows))
    for name, values in result.items():
        detector.config = detector.config.changed(score=name)
        assert values == pytest.approx(detector.score(images), abs=1e-5)
    assert list(result) == ["head", "proximity", "both", "stage1"]


def made_up(quality: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    names = ["", *TRAINING_GENERATORS, "flow", "dit"]
    rows = pd.DataFrame({"generator": np.repeat(names, 20), "family": "", "source": "one"})
    rows = rows.assign(label=np.where(rows["generator"] == "", "real", "fake"), path=rows.index.astype(str))
    noise = np.random.default_rng(99).normal(size=len(rows)) + 0.01 * rng.normal(size=len(rows))
    return rows.assign(score=quality * (rows["label"] == "fake") + noise, probability=0.5)


def test_the_report_ranks_arms_and_knows_what_is_equal() -> None:
    good, poor = [made_up(20, seed) for seed in (0, 1)], [made_up(0.5, seed) for seed in (0, 1)]
    records = report_of(
        {FULL: good, (Arm("hard", mapped=True), "both"): good, (Arm("none", mapped=False), "head"): poor}
    )
    full, same, worse = records
    assert (full["unseen"]["value"], full["difference"]) == (1, None)
    assert same["difference"]["value"] == 0
    assert worse["difference"]["low"] > 0.1
    assert worse["difference"]["value"] == pytest.approx(1 - worse["unseen"]["value"], abs=1e-4)
    assert len(worse["unseen"]["per_run"]) == 2


def test_the_recorded_experiment_is_whole() -> None:
    experiment = recorded("transfer_zoo")
    assert {(record["targets"], record["stage1"]) for record in experiment["arms"]} == {
        (arm.targets, arm.mapped) for arm in ARMS
    }
    assert len(experiment["seeds"]) == 3
    assert len(experiment["unseen"]) == 8
    assert not set(experiment["unseen"]) & set(experiment["trained_on"])
    for record in experiment["arms"]:
        assert record["unseen"]["low"] <= record["unseen"]["value"] <= record["unseen"]["high"]
        assert record["unseen"]["value"] == pytest.approx(np.mean(record["unseen"]["per_run"]), abs=2e-4)
        apart = np.mean([record["generators"][name] for name in experiment["unseen"]])
        assert record["unseen"]["value"] == pytest.approx(apart, abs=2e-4)


# figures


def test_figures_say_their_numbers() -> None:
    fig = transfer_plots.pulls_figure(0.05, 0.1, 0.0)
    texts = [text.get_text() for text in fig.axes[0].texts]
    share = pulls(Circle(), 0.05).nearest_share
    assert any(f"{share:.0%} of the push" in text for text in texts)
    assert len([text for text in texts if text == "0" or text.startswith(("+", "-"))]) == 8
    plt.close(fig)
    limits = transfer_plots.limits_figure([0.1, 1], [1.0, 2.0], {"InfoNCE": 0.5, "SupCon": 2.5})
    assert [text.get_text() for text in limits.axes[0].get_legend().get_texts()] == [
        "soft contrastive loss",
        "InfoNCE",
        "SupCon",
    ]
    plt.close(limits)


def test_real_generators_read_as_lesson_04_says() -> None:
    """Its sentences below the tables of the benchmark hold for the recorded intervals."""

    def unseen(means: list[dict]) -> dict[str, dict[str, float]]:
        return {mean["tier"]: mean["metrics"]["ap"] for mean in means if mean["over"] == "unseen"}

    lead = unseen(recorded("wild_difference")["means"])
    assert 0 < lead["unseen-source"]["low"] < lead["unseen-source"]["value"] < lead["seen-source"]["value"]
    longer = unseen(recorded("wild_long_difference")["means"])
    assert longer["unseen-source"]["low"] < 0 < longer["seen-source"]["low"]
    joined = unseen(recorded("wild_difference_ensemble")["means"])
    assert 0 < joined["seen-source"]["low"] < joined["seen-source"]["value"] < lead["seen-source"]["value"]
    assert joined["unseen-source"]["low"] < 0
    variants = recorded("wild_ablation")["variants"]
    lost = {name: unseen(entry["first_minus_this"]) for name, entry in variants.items() if name != "ntf"}
    assert lost["cross-entropy from scratch, same features"]["unseen-source"]["high"] < 0
    assert min(ap["low"] for ap in lost["without contrast and repulsion"].values()) > 0
    assert max(ap["value"] for ap in lost["without contrast and repulsion"].values()) < 0.03
    assert lost["without stage 1"]["seen-source"]["low"] > 0
    assert lost["without stage 1"]["unseen-source"]["low"] < 0
    assert all(ap["value"] > -0.006 and ap["high"] < 0 for ap in lost["targets: hard"].values())
    assert all(abs(ap["value"]) < 0.002 for ap in lost["targets: uniform"].values())
