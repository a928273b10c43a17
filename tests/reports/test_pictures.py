import torch
from PIL import Image

from segtricks.reports.pictures import Panel, curve_figure, panel_figure, save_figure


def test_panel_shows_image_and_every_mask_in_columns(tmp_path):
    mask = torch.zeros(1, 8, 10)
    panels = [Panel("a.jpg", torch.zeros(3, 8, 10, dtype=torch.uint8), {"mask": mask, "target": mask})] * 2
    figure = panel_figure(panels)
    assert [axis.get_title() for axis in figure.axes] == ["a.jpg", "mask", "target"] * 2
    save_figure(figure, tmp_path / "deep" / "panel.png")
    assert Image.open(tmp_path / "deep" / "panel.png").size[0] > 100


def test_curves_show_each_logged_term_with_its_points():
    rows = [{"step": 0, "train/loss": 2.0}, {"step": 5, "train/loss": 1.0}, {"step": 5, "val/loss": 1.5}]
    (axis,) = curve_figure(rows).axes
    assert axis.get_title() == "loss"
    assert [line.get_xydata().tolist() for line in axis.lines] == [[[0, 2], [5, 1]], [[5, 1.5]]]


def test_no_rows_no_curves():
    assert curve_figure([]) is None


def test_terms_of_validation_alone_are_drawn_and_single_points_are_seen():
    rows = [{"step": 0, "train/loss": 2.0}, {"step": 5, "val/loss": 1.5, "val/ncut": 0.5}]
    loss, ncut = curve_figure(rows).axes
    assert (loss.get_title(), ncut.get_title()) == ("loss", "ncut")
    assert [line.get_marker() for axis in (loss, ncut) for line in axis.lines] == ["o", "o", "o"]
    assert ncut.lines[0].get_color() == loss.lines[1].get_color() != loss.lines[0].get_color()
    assert [text.get_text() for text in ncut.get_legend().get_texts()] == ["val"]
