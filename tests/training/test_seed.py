"""What the eyes learn from: views of pictures keep their colours, and pictures are as the assistant would see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from assistant.tokenizers import image
from training.budget import Average
from training.pictures import SIZE
from training.seed import SIDE, Pictures, Use, normalized, patches, shrunk, views

CPU = torch.device("cpu")


def a_picture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (10, 10, 3), np.uint8)
    return np.asarray(coarse.repeat(SIZE // 10, 0).repeat(SIZE // 10, 1))


def test_pictures_are_seen_as_the_assistant_sees_them() -> None:
    picture = a_picture(0)
    ours = normalized(shrunk(torch.from_numpy(picture)[None]))[0]
    assert (ours - image.normalized(picture, SIDE)).abs().max() < 0.03


def test_views_differ_but_keep_the_colour() -> None:
    torch.manual_seed(0)
    red = torch.tensor([200, 40, 40], dtype=torch.uint8).expand(20, SIZE, SIZE, 3)
    shown = views(red)
    assert shown.shape == (20, 3, SIDE, SIDE)
    middle = shown.flatten(2).median(-1).values
    assert middle.std(0).max() > 0.01
    assert (middle[:, 0] > 1.8 * middle[:, 1:].amax(1)).all()


def test_a_patch_hides_a_little_of_some() -> None:
    torch.manual_seed(0)
    hidden = patches(300, 50, CPU).float().mean((1, 2, 3))
    assert 0.2 < (hidden > 0).float().mean() < 0.45
    assert hidden.max() < 0.1


def test_new_shards_are_taken_in_until_there_is_no_room(tmp_path: Path) -> None:
    def write(number: int) -> None:
        shown = np.stack([a_picture(10 * number + k) for k in range(2)])
        labels = np.array([[number, k, 1] for k in range(2)], np.int16)
        np.savez(tmp_path / f"camera-{number:03d}.npz", pictures=shown, labels=labels)

    write(1)
    pictures = Pictures(tmp_path, "camera", 5, CPU, None)
    assert pictures.labels.tolist() == [[1, 0, 1], [1, 1, 1]]
    write(0)
    write(2)
    pictures.refresh()
    pictures.refresh()
    assert pictures.labels[:, 0].tolist() == [1, 1, 0, 0, 2]
    assert np.array_equal(pictures.pixels[3].numpy(), a_picture(1))
    assert [len(labels) for _, labels in pictures.in_order(2)] == [2, 2, 1]


def test_codes_that_are_never_chosen_start_again_at_latents() -> None:
    torch.manual_seed(0)
    book, use = torch.nn.Parameter(torch.zeros(4, 2)), Use(4, CPU)
    use.share[:] = torch.tensor([0.5, 0.5, 0.001, 0.3])
    use.update(book, torch.tensor([[0, 1, 3]]), torch.ones(1, 3, 2))
    assert book.tolist() == [[0, 0], [0, 0], [1, 1], [0, 0]]
    assert use.share[2] == 0.25


def test_an_average_follows_running_statistics_too() -> None:
    norm = torch.nn.BatchNorm2d(1)  # which counts its batches in a buffer of integers
    average = Average(norm, 0.5)
    norm(torch.full((2, 1, 4, 4), 10.0))
    for _ in range(20):
        average.update(norm)
    assert abs(float(average.model.running_mean) - float(norm.running_mean)) < 1e-3
