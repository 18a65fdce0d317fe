"""The tag loss against its formula by loops, and against MMPose's own."""

import math

import pytest
import torch

pytest.importorskip('mmpose', reason='mmic.pose is built on mmpose')

from mmpose.models.losses import AssociativeEmbeddingLoss

from mmic.pose import MeanAssociativeEmbeddingLoss

HEIGHT, WIDTH, KEYPOINTS = 6, 7, 4
# Of each image, the labelled keypoints of each person.
IMAGES = [
    [[0, 1, 2, 3], [1, 2], [0]],
    [[2, 3], [], [0, 1, 3], [3]],
    [[0, 2]],
    [[], []],
]


def make_batch(images, dim=1):
    generator = torch.Generator().manual_seed(0)
    shape = (len(images), dim * KEYPOINTS, HEIGHT, WIDTH)
    tags = torch.randn(shape, generator=generator, dtype=torch.float64)
    indices = []
    for people in images:
        index = torch.randint(HEIGHT * WIDTH, (len(people), KEYPOINTS, 2), generator=generator)
        for person, labelled in enumerate(people):
            for keypoint in range(KEYPOINTS):
                index[person, keypoint, 1] = keypoint in labelled
                if keypoint not in labelled:
                    # As the codec gives it for keypoints that an augmentation moved outside.
                    index[person, keypoint, 0] = (-1) ** keypoint * 1000
        indices.append(index)
    return tags.requires_grad_(), indices


def naive(tags, indices, width=WIDTH):
    """Pull and push of a batch, unweighted: the means over its images."""
    pulls, pushes = [], []
    for image, index in zip(tags.tolist(), indices):
        people = []
        for person in index.tolist():
            found = [
                image[keypoint][position // width][position % width]
                for keypoint, (position, labelled) in enumerate(person)
                if labelled
            ]
            if found:
                people.append(found)
        means = [sum(person) / len(person) for person in people]
        pull = push = 0.0
        for person, mean in zip(people, means):
            pull += sum((tag - mean) ** 2 for tag in person) / len(person) / len(people)
        for i, one in enumerate(means):
            for j, other in enumerate(means):
                if i != j:
                    push += math.exp(-((one - other) ** 2)) / (len(means) * (len(means) - 1))
        pulls.append(pull)
        pushes.append(push)
    return sum(pulls) / len(pulls), sum(pushes) / len(pushes)


@pytest.mark.parametrize('images', [*([image] for image in IMAGES), IMAGES])
def test_loss_is_its_formula(images):
    tags, indices = make_batch(images)
    pull, push = MeanAssociativeEmbeddingLoss(0.3, push_loss_factor=0.7)(tags, indices)
    expected_pull, expected_push = naive(tags.detach(), indices)
    assert pull.item() == pytest.approx(0.3 * expected_pull, rel=1e-12, abs=0)
    assert push.item() == pytest.approx(0.3 * 0.7 * expected_push, rel=1e-12, abs=0)


def test_gradient_is_that_of_the_formula():
    tags, indices = make_batch(IMAGES)
    loss = MeanAssociativeEmbeddingLoss()
    sum(loss(tags, indices)).backward()
    step = 1e-5
    changed = torch.nonzero(tags.grad)
    # Image 0 has 7 labelled keypoints, image 1 has 6 and image 2 has 2.
    assert len(changed) == 7 + 6 + 2
    for place in map(tuple, changed.tolist()):
        values = []
        for sign in (1, -1):
            moved = tags.detach().clone()
            moved[place] += sign * step
            pull, push = naive(moved, indices)
            values.append(pull + 0.5 * push)
        assert tags.grad[place].item() == pytest.approx((values[0] - values[1]) / 2 / step, 1e-5)


def test_loss_is_mmposes_but_for_the_batch_and_a_constant():
    tags, indices = make_batch(IMAGES)
    ours = MeanAssociativeEmbeddingLoss(0.3)(tags, indices)
    theirs = AssociativeEmbeddingLoss(0.3)(tags, indices)
    assert 4 * ours[0].item() == pytest.approx(theirs[0].item(), rel=1e-5)
    # exp(0) for each person with itself: three people with labels in images 0 and 1 each.
    constant = 0.3 * 0.5 * 2 * 3 / (3 * 2)
    assert 4 * ours[1].item() + constant == pytest.approx(theirs[1].item(), rel=1e-5)


def test_batch_of_equal_images_has_the_loss_of_one():
    tags, indices = make_batch(IMAGES[:1])
    loss = MeanAssociativeEmbeddingLoss()
    one = loss(tags, indices)
    four = loss(tags.repeat(4, 1, 1, 1), indices * 4)
    torch.testing.assert_close(four, one)


def test_tags_of_several_dimensions():
    tags, indices = make_batch(IMAGES, dim=3)
    pull, push = MeanAssociativeEmbeddingLoss(push_loss_factor=1)(tags, indices)
    parts = tags.detach().unflatten(1, (3, KEYPOINTS)).unbind(1)
    assert pull.item() == pytest.approx(sum(naive(part, indices)[0] for part in parts) / 3)
    # The exponential of a sum: less than any dimension's own.
    assert 0 < push.item() < min(naive(part, indices)[1] for part in parts)


def test_images_without_people():
    tags, indices = make_batch(IMAGES[3:])
    indices.append(torch.zeros(0, KEYPOINTS, 2, dtype=torch.int64))
    tags = tags.detach().repeat(2, 1, 1, 1).requires_grad_()
    pull, push = MeanAssociativeEmbeddingLoss()(tags, indices)
    (pull + push).backward()
    assert pull.item() == push.item() == 0
    assert not tags.grad.any()
