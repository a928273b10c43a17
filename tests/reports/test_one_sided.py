from segtricks.reports.one_sided import count_one_sided, warn_one_sided


def test_counts_are_always_said():
    assert count_one_sided(1200, 3) == "1,200 empty masks, 3 of everything"


def test_the_reason_is_said_past_a_twentieth_of_the_masks(capsys):
    warn_one_sided(3, 2, 100, "Because.")
    assert not capsys.readouterr().out
    warn_one_sided(4, 2, 100, "Because.")
    assert capsys.readouterr().out == "segtricks: warning: 6% of the masks are empty or full. Because.\n"
    warn_one_sided(0, 0, 0, "Because.")
    assert not capsys.readouterr().out
