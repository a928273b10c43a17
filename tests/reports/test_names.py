import pytest

from segtricks.reports.names import key, set_keys


def test_keys_hold_letters_digits_and_underscores_alone():
    assert key("mask + guided filter") == "mask_guided_filter"
    assert key("ecssd[320:]") == "ecssd_320_end"
    assert key("写真") == "写真"


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["ecssd", "dut-omron"], ["ecssd", "dut_omron"]),
        (["/home/alice/a/photos", "/home/alice/b/photos"], ["a_photos", "b_photos"]),
        (["/home/alice/a/photos", "ecssd"], ["photos", "ecssd"]),
        (["x/photos", "photos"], ["x_photos", "photos"]),
        (["ecssd[:9]", "ecssd[9:]"], ["ecssd_0_9", "ecssd_9_end"]),
        (["a b", "a-b"], ["a_b_1", "a_b_2"]),
        ([], []),
    ],
)
def test_keys_of_test_sets_differ_and_show_no_more_of_a_path_than_needed(names, keys):
    assert set_keys(names) == dict(zip(names, keys, strict=True))
