"""Stage 2: what the targets are, whom the gradient reaches, how the average moves, and that runs resume."""

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_images import made_up

from helpers.detectors.crops import Augmentation, BalancedCrops
from helpers.detectors.networks import build_backbone
from helpers.detectors.ntf.stage1 import TraceEncoder
from helpers.detectors.ntf.stage2 import TARGETS, SoftTransfer, Student, TransferTerms, targets_for
from helpers.errors import NaturalTracesError
from helpers.training import FitConfig, Task, fit, read_log

CPU = partial(FitConfig, accelerator="cpu", progress=False)
SIZE = 8


def unit(rows: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, SIZE, generator=torch.Generator().manual_seed(seed)), dim=1)


def pair(seed: int = 0) -> tuple[Student, TraceEncoder]:
    torch.manual_seed(seed)
    backbones = [build_backbone("tracenet", "bank", widths=(6, 8)) for _ in range(2)]
    return Student(backbones[0], SIZE), TraceEncoder(backbones[1], SIZE)


def task_of(terms: TransferTerms | None = None, seed: int = 0, **more: float) -> SoftTransfer:
    student, teacher = pair(seed)
    student.start_from(teacher)
    return SoftTransfer(student, teacher, unit(4, 1), terms, **more)


def batch(count: int = 8) -> dict[str, torch.Tensor]:
    crops = BalancedCrops(made_up(), Augmentation(size=32, jpeg=0.0), seed=2)
    return torch.utils.data.default_collate([crops[index] for index in range(count)])


def bits(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same_bits(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert not [name for name in left if not torch.equal(left[name], right[name])]


# ------------------------------------------------------------------------------------------------------ the targets


@pytest.mark.parametrize("kind", TARGETS)
def test_targets_are_probabilities(kind: str) -> None:
    similarity = (unit(20, 0) @ unit(5, 1).T).half().float()
    targets = targets_for(similarity, kind, 0.1)
    assert targets.shape == (20, 5)
    assert targets.dtype == torch.float32
    assert (targets >= 0).all()
    assert torch.allclose(targets.sum(dim=1), torch.ones(20))


def test_hard_targets_name_the_nearest_trace_and_uniform_ones_none() -> None:
    similarity = torch.tensor([[0.1, 0.7, 0.2], [0.9, -0.3, 0.8]])
    assert targets_for(similarity, "hard", 0.1).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert torch.allclose(targets_for(similarity, "uniform", 0.1), torch.full((2, 3), 1 / 3))


def test_soft_targets_lie_between_hard_and_uniform_ones() -> None:
    similarity = unit(10, 0) @ unit(4, 1).T
    soft = targets_for(similarity, "soft", 0.1)
    assert torch.allclose(soft, (similarity.double() / 0.1).exp().float() / (similarity / 0.1).exp().sum(1, True))
    assert torch.allclose(targets_for(similarity, "soft", 1e-4), targets_for(similarity, "hard", 1), atol=1e-3)
    assert torch.allclose(targets_for(similarity, "soft", 1e4), targets_for(similarity, "uniform", 1), atol=1e-3)


def test_unknown_targets_are_refused() -> None:
    with pytest.raises(NaturalTracesError, match="one of soft, hard, uniform, not firm"):
        TransferTerms(targets="firm")


# ------------------------------------------------------------------------------------------------------ the student


def test_the_student_starts_as_a_copy_of_the_teacher_that_goes_its_own_way() -> None:
    student, teacher = pair()
    images = batch()["image"]
    student.eval(), teacher.eval()
    assert not torch.allclose(student(images)[0], teacher.traces(images), atol=0.05)
    student.start_from(teacher)
    embedding, logits = student(images)
    assert torch.equal(embedding, teacher.traces(images))
    assert torch.allclose(embedding.norm(dim=1), torch.ones(8))
    assert logits.shape == (8,)
    before = bits(teacher)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    assert_same_bits(before, bits(teacher))


# --------------------------------------------------------------------------------------------------------- the loss


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    terms = TransferTerms(classification=0.6, contrast=1.7, repulsion=0.3)
    result = task_of(terms).losses("main", batch(), torch.Generator())
    expected = sum(getattr(terms, name) * float(result[name]) for name in ("classification", "contrast", "repulsion"))
    assert float(result["loss"].detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("targets", TARGETS)
def test_terms_agree_with_sums_written_out(targets: str) -> None:
    terms, views = TransferTerms(targets=targets, smoothing=0.1, sharpness=3.0), batch()
    task = task_of(terms).eval()
    result = task.losses("main", views, torch.Generator())
    with torch.no_grad():
        embedding, logits = (part.double() for part in task.student(views["image"]))
        fake, bank = views["label"] == 1, task.bank.double()
        wanted = fake.double() * 0.8 + 0.1
        probability = logits.sigmoid()
        classification = -(wanted * probability.log() + (1 - wanted) * (1 - probability).log()).mean()
        known = targets_for(task.teacher.traces(views["image"][~fake]) @ task.bank.T, targets, 0.1).double()
        anchors, fakes = embedding[~fake], embedding[fake]
        similarity = anchors @ fakes.T
        weights = (3.0 * similarity).exp()
        weights = weights / weights.mean(dim=1, keepdim=True)
        to_bank = anchors @ bank.T / 0.2
        denominator = to_bank.exp().sum(dim=1) + (weights * (similarity / 0.2).exp()).sum(dim=1)
        contrast = -(known * (to_bank - denominator.log()[:, None])).sum(dim=1).mean()
    assert float(result["classification"]) == pytest.approx(float(classification), rel=1e-4)
    assert float(result["contrast"]) == pytest.approx(float(contrast), rel=1e-4)


def test_gradients_reach_the_student_and_neither_teacher_average_nor_bank() -> None:
    task = task_of()
    before = bits(task.teacher)
    task.train()
    task.losses("main", batch(), torch.Generator())["loss"].backward()
    assert all(parameter.grad is not None for parameter in task.student.parameters())
    assert all(parameter.grad is None for parameter in (*task.teacher.parameters(), *task.average.parameters()))
    assert not task.bank.requires_grad
    assert_same_bits(before, bits(task.teacher))  # its running statistics are frozen as well
    moved = {id(p) for group in task.optimizers()["main"].param_groups for p in group["params"]}
    assert moved == {id(parameter) for parameter in task.student.parameters()}


@pytest.mark.parametrize(
    ("dropped", "silent"), [("classification", "head"), ("both", "projection")], ids=["classification", "contrast"]
)
def test_a_dropped_term_pulls_no_more(dropped: str, silent: str) -> None:
    weights = {"classification": 0.0} if dropped == "classification" else {"contrast": 0.0, "repulsion": 0.0}
    task = task_of(TransferTerms(**weights))
    result = task.losses("main", batch(), torch.Generator())
    result["loss"].backward()
    gradients = [p.grad for p in getattr(task.student, silent).parameters()]
    assert all(gradient is None or float(gradient.abs().max()) == 0 for gradient in gradients)
    assert ("contrast" in result) == (dropped == "classification")
    loudest = max(float(p.grad.abs().max()) for p in task.student.backbone.parameters())
    assert loudest > 0


@pytest.mark.parametrize("label", [0, 1])
def test_a_batch_of_one_label_is_classified_alone(label: int) -> None:
    views = batch()
    views["label"] = torch.full_like(views["label"], label)
    result = task_of().losses("main", views, torch.Generator())
    assert set(result) == {"loss", "classification"}
    assert torch.isfinite(result["loss"])


# ------------------------------------------------------------------------------------------------------ the average


def test_the_average_follows_quickly_at_first_and_slowly_later() -> None:
    task = task_of(decay=0.9)
    start = bits(task.average)
    with torch.no_grad():
        for parameter in task.student.parameters():
            parameter.add_(1.0)
    target = bits(task.student)
    for step, decay in ((0, 0.1), (2, 0.25), (10_000, 0.9)):
        task.average.load_state_dict(start)
        task.after_step(step)
        for name, value in task.average.state_dict().items():
            if value.is_floating_point():
                expected = decay * start[name] + (1 - decay) * target[name]
                assert torch.allclose(value, expected, atol=1e-6)
    assert_same_bits(target, bits(task.student))


# ----------------------------------------------------------------------------------------------------- the training


def trained(out: Path, task: SoftTransfer, steps: int = 30) -> SoftTransfer:
    crops = BalancedCrops(made_up(strength=16.0), Augmentation(size=32, jpeg=0.5), seed=0)
    config = CPU(steps=steps, batch_size=8, checkpoint_every=4, log_every=1, channels_last=True)
    return fit(task, crops, config, out).task  # type: ignore[return-value]


class Interrupted(RuntimeError):
    pass


def test_an_interrupted_transfer_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(tmp_path / "whole", task_of(), steps=10)
    original, count = SoftTransfer.losses, [0]

    def stopping(self: Task, *arguments: object) -> dict[str, torch.Tensor]:
        count[0] += 1
        if count[0] in (3, 8):
            raise Interrupted
        return original(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(SoftTransfer, "losses", stopping)
        for _ in range(2):
            with pytest.raises(Interrupted):
                trained(tmp_path / "parts", task_of(), steps=10)
    resumed = trained(tmp_path / "parts", task_of(), steps=10)
    assert_same_bits(bits(whole), bits(resumed))
    logs = [read_log(tmp_path / name / "log.csv").drop(columns="seconds") for name in ("whole", "parts")]
    assert logs[0].equals(logs[1])


def test_a_run_repeats_whatever_else_draws_random_numbers(tmp_path: Path) -> None:
    first = trained(tmp_path / "first", task_of(), steps=3)
    torch.rand(11)
    assert_same_bits(bits(first), bits(trained(tmp_path / "second", task_of(), steps=3)))
