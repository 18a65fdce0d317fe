"""Draw detections side by side: images down, networks across."""

from PIL import Image


def plot_detections(images, columns, classes, colours, path):
    """Draw boxes with class names and scores.

    Args:
        images (Sequence[str | Path]): Image files, one row each.
        columns (dict[str, list]): Title to what is drawn on each image: a list of
            ``(box, label, score)`` with ``box`` as x1, y1, x2, y2 in pixels and ``score`` from 0
            to 1, or None for ground truth.
        classes (Sequence[str]): Class names, indexed by label.
        colours (Sequence[tuple[int, int, int]]): RGB of each class, 0 to 255.
        path (str | Path): Picture file; the format follows its suffix.

    Raises:
        ValueError: A column has not one entry for each image.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    for title, detections in columns.items():
        if len(detections) != len(images):
            raise ValueError(f'{title!r}: {len(detections)} entries for {len(images)} images.')
    figure, axes = plt.subplots(
        len(images),
        len(columns),
        figsize=(3.6 * len(columns), 3.6 * len(images) + 0.3),
        layout='constrained',
        squeeze=False,
    )
    for row, image in enumerate(images):
        with Image.open(image) as picture:
            pixels = picture.convert('RGB')
        for column, (title, detections) in enumerate(columns.items()):
            axis = axes[row, column]
            axis.imshow(pixels)
            axis.set_axis_off()
            if row == 0:
                axis.set_title(title)
            for box, label, score in detections[row]:
                draw_box(
                    axis, box, classes[label], score, [value / 255 for value in colours[label]]
                )
            # A box that reaches over the border would shrink its picture.
            axis.set(xlim=(-0.5, pixels.width - 0.5), ylim=(pixels.height - 0.5, -0.5))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_box(axis, box, name, score, colour):
    """Draw one box with its label above it, or inside where the image ends."""
    x1, y1, x2, y2 = box
    axis.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=colour, linewidth=1.6)
    axis.text(
        x1,
        max(y1, 12) - 2,
        name if score is None else f'{name} {score:.2f}',
        fontsize=6.5,
        color='white',
        verticalalignment='bottom',
        clip_on=True,
        bbox=dict(facecolor=colour, edgecolor='none', pad=0.8, alpha=0.85),
    )
