"""Two workers with half a batch each are one worker with the whole batch, in loss and in gradients.

The two are real processes that talk through gloo; they are started once and go through all cases. What they find is
compared with a single worker's result in this process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from safetensors.torch import load_file, save_file
from torch import Tensor

from cirray.cluster.worker import Worker
from cirray.config.compute import Compute
from cirray.config.recipe import load_recipe
from cirray.config.registry import COMBINING_FUNCTIONS
from cirray.config.training import TrainConfig
from cirray.data.attribute_classes import AttributeClasses
from cirray.data.records import Dataset, Protocol, Split, Triplet
from cirray.data.table import build_table
from cirray.data.title_fragments import Title
from cirray.features.embed import DecodePixels, EmbedImages, EmbedTexts, pixels_fingerprint, text_key
from cirray.features.store import FeatureStore
from cirray.models.clip import load_encoder, save_encoder
from cirray.models.combining import WithAuxiliaryLoss, build_combining
from cirray.models.losses import contrastive_loss
from cirray.storage.location import Location
from cirray.training.sampling import Batch
from cirray.training.stages.combine import CombiningTask
from cirray.training.stages.finetune import FineTuneTask
from cirray.training.stages.pretrain import PretrainTask
from cirray.training.stages.rerank import RerankTask
from cirray.training.task import StageInputs, Task
from tests.support.data_fixtures import write_picture
from tests.support.encoder_fixtures import tiny_encoder

pytestmark = pytest.mark.slow


def reranking(inputs: StageInputs, worker: Worker) -> Task:
    """Stage 3 with random weights: before training, most of a reranker's gradients are 0."""
    task = RerankTask(inputs, worker)
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in task.reranker.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random) / 2)
    return task


TASKS: dict[str, Callable[[StageInputs, Worker], Task]] = {
    "stage0": PretrainTask,
    "stage1": FineTuneTask,
    "stage2": CombiningTask,
    "stage3": reranking,
}
SMALL = {
    "stage2.combining.projection": 16,
    "stage2.combining.hidden": 24,
    "stage2.combining.dropout_projection": 0.0,
    "stage2.combining.dropout_output": 0.0,
    "stage2.combining.dropout_text_weight": 0.0,
    "stage3.reranker.hidden": 12,
    "stage3.reranker.dropout": 0.0,
    "stage3.top": 5,
}


@dataclass(frozen=True)
class Case:
    """One stage with some settings, and how many examples its global batch has."""

    stage: str
    settings: tuple[tuple[str, Any], ...]
    examples: int

    @property
    def name(self) -> str:
        told = [f"{name.rsplit('.', 1)[-1]}={value}" for name, value in self.settings]
        return "-".join([self.stage, *told, str(self.examples)])

    def config(self) -> TrainConfig:
        loss = {f"{self.stage}.loss.temperature": 0.05}
        chunk = {f"{self.stage}.optimisation.chunk": value for name, value in self.settings if name == "chunk"}
        rest = {f"{self.stage}.{name}": value for name, value in self.settings if name != "chunk"}
        return load_recipe(TrainConfig, "default", {**SMALL, **loss, **chunk, **rest})


def case(stage: str, examples: int, **settings: Any) -> Case:
    named = {name.replace("__", "."): value for name, value in settings.items()}
    return Case(stage, tuple(named.items()), examples)


STAGES: list[tuple[str, dict[str, Any]]] = [
    ("stage0", {}),
    ("stage1", {"encoder": "text"}),
    ("stage1", {"encoder": "image"}),
    ("stage1", {"encoder": "both"}),
    ("stage2", {}),
    ("stage3", {}),
    ("stage3", {"reranker__function": "artemis"}),
]
LEARNED = {"loss__learn_temperature": True, "loss__mask_duplicates": True}
# 6: even; 5: not divisible by two; 1: fewer than workers, the second has nothing to do. Chunks of two: with five
# examples one worker needs two passes and the other one.
CASES = [
    case(stage, examples, **settings, **extra)
    for stage, settings in STAGES
    for examples, extra in [
        (6, {}),
        (5, {}),
        (1, {}),
        (8, LEARNED),
        (6, {"chunk": 2}),
        (5, {"chunk": 2, **LEARNED}),
        (1, {"chunk": 2}),
    ]
] + [case("stage1", 6, encoder="both", gradient_checkpointing=True), case("stage0", 6, gradient_checkpointing=True)]
PARTS = {"attribute_weight": 0.5, "fragment_weight": 0.7}
CASES += [case("stage0", 5, **PARTS), case("stage0", 1, **PARTS), case("stage0", 5, chunk=2, **PARTS, **LEARNED)]
CASES += [case("stage2", examples, loss__negatives="gallery") for examples in (6, 5, 1)]
CASES += [
    case("stage2", examples, combining__function="dcnet", **extra)  # with an auxiliary loss
    for examples, extra in [(6, {}), (5, {"chunk": 2, **LEARNED}), (1, {"chunk": 2})]
]
CASES += [case("stage2", examples, loss__hard=3, loss__mask_duplicates=True) for examples in (6, 5, 1)]
CASES += [
    case("stage1", examples, encoder=tower, loss__negatives="references", **chunk)
    for tower in ("text", "both")
    for examples, chunk in [(6, {}), (5, {"chunk": 2}), (1, {})]
]
VALIDATED = [case(stage, 6, **settings) for stage, settings in STAGES[1:]]


# ---------------------------------------------------------------------------------------------------------------------
# the data


# The classes of the eight titled images.
ATTRIBUTES = AttributeClasses(
    ("colour", "logo"),
    ("colour red", "colour blue", "colour green", "without logo", "with logo"),
    (3, 2),
    ((0, 0), (1, -1), (2, 1), (0, 1), (-1, -1), (2, 0), (1, 1), (0, -1)),
)


def make_dataset(folder: Path) -> Dataset:
    """Ten pictures, eight training triplets of which some share their target, and titles of which some are shared."""
    names = [f"p{i}" for i in range(10)]
    images = {name: write_picture(folder / f"{name}.png", i, (20 + 3 * i, 32)) for i, name in enumerate(names)}
    targets = [1, 2, 1, 4, 5, 2, 7, 1]
    texts = [("is red", "has long sleeves"), ("is blue and much longer than it was",), ("a", "b")]
    train = tuple(
        Triplet(names[(3 * i + 4) % 10], texts[i % 3], names[target], "dress") for i, target in enumerate(targets)
    )
    val = tuple(
        Triplet(names[i], ("is darker", f"number {i}"), names[i + 3], "dress" if i < 3 else "shirt") for i in range(7)
    )
    galleries = {"dress": tuple(names[:8]), "shirt": tuple(names[3:])}
    return Dataset(
        name="test",
        images=images,
        contents={name: text_key(name) for name in names},
        titles={name: f"title {i % 6}" for i, name in enumerate(names[:8])},
        splits={"train": Split("train", train, galleries), "val": Split("val", val, galleries)},
        protocol=Protocol("test", exclude_reference=False, ks=(1, 2, 5)),
    )


def prepare(folder: Path) -> None:
    """Writes encoder, pictures and a store with everything that the stages look up."""
    encoder, data = tiny_encoder(), make_dataset(folder / "pictures")
    save_encoder(encoder, folder / "encoder")
    keys, paths = list(data.contents.values()), [str(path) for path in data.images.values()]
    captions = [*build_table(data, "train").captions, *build_table(data, "val").captions]
    here = Location.parse(folder)
    where, source = here / "store", here / "encoder"
    print_ = pixels_fingerprint(encoder.image_input.size, encoder.preprocess)
    FeatureStore(where, "pixels", print_).write(keys, DecodePixels(32, encoder.preprocess)(paths))
    images = FeatureStore(where, "image", encoder.fingerprint("image"))
    images.write(keys, EmbedImages(source, "cpu")(paths))
    texts = FeatureStore(where, "text", encoder.fingerprint("text"))
    texts.write([text_key(caption) for caption in captions], EmbedTexts(source, "cpu")(captions))


def stage_inputs(folder: Path, config: TrainConfig) -> StageInputs:
    data = make_dataset(folder / "pictures")
    torch.manual_seed(4)
    return StageInputs(
        config=config,
        encoder=Location.parse(folder) / "encoder",
        store=Location.parse(folder) / "store",
        image_keys=tuple(data.contents[image] for image in data.images),
        train=build_table(data, "train"),
        val=build_table(data, "val"),
        protocol=data.protocol,
        titled=tuple((row, data.titles[image]) for row, image in enumerate(data.images) if image in data.titles),
        attributes=ATTRIBUTES if config.stage0.attribute_weight else None,
        combining=build_combining(tiny_encoder().dim, config.stage2.combining),
    )


def global_batch(examples: int) -> Batch:
    random = torch.Generator().manual_seed(examples)
    return Batch(
        torch.randperm(8, generator=random)[:examples], torch.rand(examples, dtype=torch.double, generator=random)
    )


# ---------------------------------------------------------------------------------------------------------------------
# what a worker does, alone or in a group


def member(rank: int, world: int) -> Worker:
    return Worker(rank, world, torch.device("cpu"), Compute())


def step(task: Task, worker: Worker, examples: int) -> dict[str, Tensor]:
    """Runs one backward pass; returns the gradients of the whole batch and its loss."""
    trained = task.trained()
    task.begin()
    loss = task.backward(global_batch(examples), lambda loss: loss)
    worker.sum_gradients(trained.values())
    found = {name: parameter.grad for name, parameter in trained.items() if parameter.grad is not None}
    return {**found, "loss": worker.sum(loss)}


def validation(task: Task) -> list[list[Any]]:
    with torch.inference_mode():
        found = task.validate(1)
    assert found.metrics
    return [*map(list, found.metrics.items()), ["selection", found.selection]]


def run_member(rank: int, folder: Path) -> None:
    """The body of one of the two processes."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2, timeout=timedelta(seconds=120))
    worker = member(rank, 2)
    for one in CASES:
        task = TASKS[one.stage](stage_inputs(folder, one.config()), worker)
        found = step(task, worker, one.examples)
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / f"{one.name}.{rank}")
    for one in VALIDATED:
        task = TASKS[one.stage](stage_inputs(folder, one.config()), worker)
        (folder / f"validated-{one.name}.{rank}").write_text(json.dumps(validation(task)), encoding="utf-8")
    parts = worker.broadcast({"rank": rank})
    (folder / f"agreed.{rank}").write_text(json.dumps(parts), encoding="utf-8")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs the two processes; returns the folder with what they found."""
    folder = tmp_path_factory.mktemp("equality")
    prepare(folder)
    torch.multiprocessing.spawn(run_member, args=(folder,), nprocs=2)
    return folder


def alone(folder: Path, one: Case) -> dict[str, Tensor]:
    worker = Worker.single()
    return step(TASKS[one.stage](stage_inputs(folder, one.config()), worker), worker, one.examples)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Gradients of parameters that a single worker leaves without one must be zero."""
    assert expected.keys() <= found.keys()
    for name, tensor in found.items():
        other = expected.get(name, torch.zeros_like(tensor))
        torch.testing.assert_close(tensor, other, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_two_workers_are_one(one: Case, pair: Path) -> None:
    expected = alone(pair, one)
    for rank in (0, 1):
        assert_same(load_file(pair / f"{one.name}.{rank}"), expected)
    if one.examples > 1:
        moved = [name for name, tensor in expected.items() if float(tensor.abs().max()) > 1e-4]
        assert len(moved) > 0.5 * len(expected)  # the comparison is not one of zeros


@pytest.mark.parametrize("one", [one for one in CASES if "chunk=2" in one.name], ids=lambda one: one.name)
def test_chunks_are_the_whole(one: Case, pair: Path) -> None:
    whole = Case(one.stage, tuple(pair for pair in one.settings if pair[0] != "chunk"), one.examples)
    assert_same(alone(pair, one), alone(pair, whole))


@pytest.mark.parametrize("one", VALIDATED, ids=lambda one: one.name)
def test_two_workers_validate_as_one(one: Case, pair: Path) -> None:
    expected = json.loads(json.dumps(validation(TASKS[one.stage](stage_inputs(pair, one.config()), Worker.single()))))
    for rank in (0, 1):
        assert json.loads((pair / f"validated-{one.name}.{rank}").read_text(encoding="utf-8")) == expected


def test_workers_agree_with_the_first(pair: Path) -> None:
    assert [json.loads((pair / f"agreed.{rank}").read_text(encoding="utf-8")) for rank in (0, 1)] == [{"rank": 0}] * 2


# ---------------------------------------------------------------------------------------------------------------------
# and one worker computes what the paper says


def drawn_texts(inputs: StageInputs, batch: Batch) -> list[str]:
    return [
        inputs.train.captions[inputs.train.variants[row][int(draw * len(inputs.train.variants[row]))]]
        for row, draw in zip(batch.rows.tolist(), batch.draws.tolist(), strict=True)
    ]


def test_stage_0_has_three_losses(pair: Path) -> None:
    """Titles in both directions; fragments among those that the title lacks; each attribute value among its own."""
    one = case("stage0", 6, loss__mask_duplicates=False, **PARTS)
    inputs, batch = stage_inputs(pair, one.config()), global_batch(6)
    encoder = load_encoder(pair / "encoder")
    rows = batch.rows.tolist()
    titles = [inputs.titled[row][1] for row in rows]
    fragments = [Title.of(title).fragment(draw) for title, draw in zip(titles, batch.draws.tolist(), strict=True)]
    keys = [inputs.image_keys[inputs.titled[row][0]] for row in rows]
    store = FeatureStore(Location.parse(pair) / "store", "pixels", pixels_fingerprint(32, encoder.preprocess))
    with torch.no_grad():
        image = encoder.encode_image(store.read(keys), normalize=True)
        title, fragment, value = (
            encoder.encode_text(encoder.tokenize(texts), normalize=True)
            for texts in (titles, [" ".join(words) for words in fragments], ATTRIBUTES.texts)
        )
    total = 0.0
    for i, row in enumerate(rows):
        to_title, to_image = 20.0 * image[i] @ title.T, 20.0 * title[i] @ image.T
        total += float(to_title.logsumexp(0) - to_title[i] + to_image.logsumexp(0) - to_image[i]) / 2
        lacking = [j for j, words in enumerate(fragments) if not set(words) <= set(titles[i].split())]
        to_fragment = 20.0 * image[i] @ fragment[[i, *lacking]].T
        total += 0.7 * float(to_fragment.logsumexp(0) - to_fragment[0])
        for label, own in zip(ATTRIBUTES.labels[row], (slice(0, 3), slice(3, 5)), strict=True):
            to_value = 20.0 * image[i] @ value[own].T
            total += 0.5 * float(to_value.logsumexp(0) - to_value[label]) / 2 if label >= 0 else 0.0
    assert float(alone(pair, one)["loss"]) == pytest.approx(total / 6, rel=1e-4)


@pytest.mark.parametrize("which", ["text", "image", "both"])
def test_stage_1_is_the_papers_loss(which: str, pair: Path) -> None:
    """normalize(raw image + raw text) against normalized targets, scaled cosine, cross-entropy query -> target."""
    one = case("stage1", 6, encoder=which)
    query, images, inputs, trained = summed(pair, one, which)
    target = images[inputs.train.target[global_batch(6).rows]]
    logits = 20.0 * query @ target.T
    loss = (logits.exp().sum(dim=1).log() - logits.diag()).mean()
    assert_same(alone(pair, one), {**tower_gradients(trained, loss), "loss": loss.detach()})


@pytest.mark.parametrize("which", ["text", "both"])
def test_stage_1_against_references(which: str, pair: Path) -> None:
    """A query is told from the batch's targets and references, each as often as it is there, its own target once."""
    one = case("stage1", 6, encoder=which, loss__negatives="references")
    query, images, inputs, trained = summed(pair, one, which)
    rows = global_batch(6).rows
    there = [*inputs.train.target[rows].tolist(), *inputs.train.reference[rows].tolist()]
    terms = []
    for place, own in enumerate(inputs.train.target[rows].tolist()):
        among = images[[own, *(image for image in there if image != own)]]
        terms.append((20.0 * query[place] @ among.T).logsumexp(0) - 20.0 * query[place] @ images[own])
    loss = torch.stack(terms).mean()
    assert_same(alone(pair, one), {**tower_gradients(trained, loss), "loss": loss.detach()})


def summed(pair: Path, one: Case, which: str) -> tuple[Tensor, Tensor, StageInputs, dict[str, Tensor]]:
    """Returns the sum's unit query features of the batch, all unit image features, the inputs, and what is trained."""
    inputs, batch = stage_inputs(pair, one.config()), global_batch(6)
    encoder = load_encoder(pair / "encoder")
    pixels = FeatureStore(Location.parse(pair) / "store", "pixels", pixels_fingerprint(32, encoder.preprocess)).read(
        inputs.image_keys
    )
    encoder.requires_grad_(False)
    trained = {
        f"clip.{name}": parameter.requires_grad_()
        for tower in (["image", "text"] if which == "both" else [which])
        for name, parameter in encoder.tower_parameters(tower)  # type: ignore[arg-type]
    }
    mean, std = (
        torch.tensor(channels).view(3, 1, 1) for channels in (encoder.image_input.mean, encoder.image_input.std)
    )
    images = encoder.clip.visual((pixels / 255.0 - mean) / std)
    texts = encoder.clip.encode_text(encoder.tokenize(drawn_texts(inputs, batch)))
    query = images[inputs.train.reference[batch.rows]] + texts
    return query / query.norm(dim=1, keepdim=True), images / images.norm(dim=1, keepdim=True), inputs, trained


def tower_gradients(trained: dict[str, Tensor], loss: Tensor) -> dict[str, Tensor]:
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: parameter.grad for name, parameter in trained.items() if parameter.grad is not None}


def test_stage_2_is_the_papers_loss(pair: Path) -> None:
    one = case("stage2", 6)
    inputs, batch = stage_inputs(pair, one.config()), global_batch(6)
    task = CombiningTask(inputs, Worker.single())
    encoder = load_encoder(pair / "encoder")
    store = FeatureStore(Location.parse(pair) / "store", "image", encoder.fingerprint("image"))
    images = store.read(inputs.image_keys)
    with torch.no_grad():
        texts = encoder.clip.encode_text(encoder.tokenize(drawn_texts(inputs, batch)))
    query = task.combining(images[inputs.train.reference[batch.rows]], texts)
    target = images[inputs.train.target[batch.rows]]
    logits = 20.0 * query @ (target / target.norm(dim=1, keepdim=True)).T
    loss = (logits.exp().sum(dim=1).log() - logits.diag()).mean()
    names, parameters = zip(*task.trained().items(), strict=True)
    expected = dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))
    assert_same(alone(pair, one), {**expected, "loss": loss.detach()})


def test_stage_2_against_the_gallery(pair: Path) -> None:
    """All images that only validation does not ask for, each once, are what a query is told from."""
    one = case("stage2", 6, loss__negatives="gallery")
    query, images, inputs, wanted, task = composed(pair, one)
    named = {*inputs.train.reference.tolist(), *inputs.train.target.tolist()}
    secret = {*inputs.val.reference.tolist(), *inputs.val.target.tolist()} - named
    rows = [row for row in range(10) if row not in secret]
    assert 0 < len(secret) < 4
    logits = 20.0 * query @ images.T
    loss = (logits[:, rows].exp().sum(dim=1).log() - logits[torch.arange(6), wanted]).mean()
    assert_same(alone(pair, one), {**gradients(task, loss), "loss": loss.detach()})


def test_stage_2_with_hard_negatives(pair: Path) -> None:
    """Three images that rank best before the epoch, the target left out, join the targets of the batch."""
    one = case("stage2", 6, loss__hard=3)
    query, images, inputs, wanted, task = composed(pair, one)
    train, rows = inputs.train, inputs.train.gallery.tolist()
    with torch.no_grad():
        captions = task.frozen.captions["train"][train.query]
        ranked = task.combining(task.frozen.images[train.reference], captions) @ images.T
    terms = []
    for place, row in enumerate(global_batch(6).rows.tolist()):
        others = sorted((r for r in rows if r != int(train.target[row])), key=lambda r: -float(ranked[row, r]))
        among = torch.cat([images[wanted], images[others[:3]]])
        terms.append((20.0 * query[place] @ among.T).logsumexp(0) - 20.0 * query[place] @ images[wanted[place]])
    loss = torch.stack(terms).mean()
    assert_same(alone(pair, one), {**gradients(task, loss), "loss": loss.detach()})


def test_stage_2_with_an_auxiliary_loss(pair: Path) -> None:
    """The texts of the batch are told from each other by the changes between the images; equal texts are not."""
    one = case("stage2", 8, combining__function="dcnet")
    inputs, batch = stage_inputs(pair, one.config()), global_batch(8)
    task = CombiningTask(inputs, Worker.single())
    assert isinstance(task.combining, WithAuxiliaryLoss)
    rows = [inputs.train.captions.index(text) for text in drawn_texts(inputs, batch)]
    assert len(set(rows)) < len(rows)
    reference, target = (
        task.frozen.images[rows_[batch.rows]] for rows_ in (inputs.train.reference, inputs.train.target)
    )
    texts = task.frozen.captions["train"][rows]
    logits = 20.0 * task.combining(reference, texts) @ (target / target.norm(dim=1, keepdim=True)).T
    loss = (logits.exp().sum(dim=1).log() - logits.diag()).mean()
    asked, changes = task.combining.auxiliary(reference, texts, target)
    terms = []
    for place, row in enumerate(rows):
        among = torch.stack([changes[place], *(changes[n] for n, other in enumerate(rows) if other != row)])
        terms.append((20.0 * among @ asked[place]).logsumexp(0) - 20.0 * changes[place] @ asked[place])
    loss = loss + torch.stack(terms).mean()
    assert_same(alone(pair, one), {**gradients(task, loss), "loss": loss.detach()})


@pytest.mark.parametrize("function", [name for name in COMBINING_FUNCTIONS if name not in {"sum", "dcnet"}])
def test_stage_2_without_an_auxiliary_loss_has_one_loss_only(function: str, pair: Path) -> None:
    """Bit for bit, with dropout: one forward pass through the combining function, one loss, and no more randomness."""
    dropouts = {f"combining__dropout_{name}": 0.5 for name in ("projection", "output", "text_weight")}
    one = case("stage2", 6, combining__function=function, **dropouts)
    inputs, batch = stage_inputs(pair, one.config()), global_batch(6)
    task, other = (CombiningTask(inputs, Worker.single()) for _ in range(2))
    torch.manual_seed(7)
    loss, state = task.backward(batch, lambda loss: loss), torch.get_rng_state()

    torch.manual_seed(7)
    rows = [inputs.train.captions.index(text) for text in drawn_texts(inputs, batch)]
    images, targets = other.frozen.images, other.frozen.unit_images[inputs.train.target[batch.rows]]
    query = other.combining.train()(images[inputs.train.reference[batch.rows]], other.frozen.captions["train"][rows])
    expected = contrastive_loss(query, targets, torch.arange(6), other.temperature())
    expected.backward()  # type: ignore[no-untyped-call]
    assert torch.equal(loss, expected.detach())
    assert torch.equal(torch.get_rng_state(), state)
    for (name, parameter), same in zip(task.trained().items(), other.trained().values(), strict=True):
        assert parameter.grad is not None and same.grad is not None, name
        assert torch.equal(parameter.grad, same.grad), name


def test_stage_3_tells_the_target_from_the_images_that_stage_2_ranks_best(pair: Path) -> None:
    """Image 3 has the content of image 1, the target of some queries: for them, it is no negative."""
    inputs, batch = stage_inputs(pair, case("stage3", 8).config()), global_batch(8)
    keys = [*inputs.image_keys[:3], inputs.image_keys[1], *inputs.image_keys[4:]]
    inputs = replace(inputs, image_keys=tuple(keys))
    task = reranking(inputs, Worker.single())
    assert isinstance(task, RerankTask) and inputs.combining is not None
    train, frozen, combining = inputs.train, task.frozen, inputs.combining
    texts = frozen.captions["train"]
    with torch.no_grad():
        ranked = combining(frozen.images[train.reference], texts[train.query]) @ frozen.unit_images.T
    terms, copies = [], 0
    for row, text in zip(batch.rows.tolist(), drawn_texts(inputs, batch), strict=True):
        target = int(train.target[row])
        best = sorted(train.gallery.tolist(), key=lambda image, row=row: -float(ranked[row, image]))[:5]  # type: ignore[misc]
        others = [image for image in best if image != target][:4]
        among = [target, *(image for image in others if keys[image] != keys[target])]
        copies += len(others) + 1 - len(among)
        image, caption = frozen.images[train.reference[row]], texts[inputs.train.captions.index(text)]
        query = combining(image, caption).detach()
        parts = (part.unsqueeze(0) for part in (image, caption, query, frozen.images[among]))
        scores = task.temperature() * task.reranker.score(*parts)[0]
        terms.append(scores.logsumexp(0) - scores[0])
    assert copies
    loss = torch.stack(terms).mean()
    expected = {**gradients(task, loss), "loss": loss.detach()}
    assert_same(step(reranking(inputs, Worker.single()), Worker.single(), 8), expected)


def test_stage_3_needs_a_combining_function(pair: Path) -> None:
    inputs = replace(stage_inputs(pair, case("stage3", 6).config()), combining=None)
    with pytest.raises(ValueError, match="stage 3 needs the combining function of stage 2"):
        RerankTask(inputs, Worker.single())


def test_stage_3_trains_nothing_but_the_reranker(pair: Path) -> None:
    inputs = stage_inputs(pair, case("stage3", 6).config())
    task = RerankTask(inputs, Worker.single())
    step(task, Worker.single(), 6)
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in task.combining.parameters())
    assert all(name.startswith(("reranker.", "temperature.")) for name in task.trained())


def composed(pair: Path, one: Case) -> tuple[Tensor, Tensor, StageInputs, Tensor, CombiningTask]:
    """Returns query features of the batch, all unit image features, the inputs, the target rows, and the task."""
    inputs, batch = stage_inputs(pair, one.config()), global_batch(6)
    task = CombiningTask(inputs, Worker.single())
    rows = [inputs.train.captions.index(text) for text in drawn_texts(inputs, batch)]
    query = task.combining(task.frozen.images[inputs.train.reference[batch.rows]], task.frozen.captions["train"][rows])
    return query, task.frozen.unit_images, inputs, inputs.train.target[batch.rows], task


def gradients(task: Task, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*task.trained().items(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def test_logit_scale_is_never_trained(pair: Path) -> None:
    for one in (case("stage0", 6), case("stage1", 6, encoder="both"), case("stage1", 6, encoder="text")):
        task = TASKS[one.stage](stage_inputs(pair, one.config()), Worker.single())
        assert not [name for name in task.trained() if "logit" in name]
    assert all(not name.startswith("clip.visual.") for name in task.trained())  # the last one trains the text tower
    image = FineTuneTask(stage_inputs(pair, case("stage1", 6, encoder="image").config()), Worker.single())
    assert all(name.startswith("clip.visual.") for name in image.trained())
