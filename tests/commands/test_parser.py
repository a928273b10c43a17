import pytest

from segtricks.commands.parser import explain

OPTIONS = ["config", "model.tau", "model.teacher", "model.refiner.radius", "data.batch_size", "trainer.max_epochs"]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Option 'tao' is not accepted", "Did you mean model.tau?"),
        (
            "Group 'trainer' does not accept option 'max_epocs'",
            "Unknown option trainer.max_epocs. Did you mean trainer.m",
        ),
        ("unrecognized arguments: --refiner.radus=3", "Did you mean model.refiner.radius?"),
        ("unrecognized arguments: foo", "Unexpected word 'foo': options begin with --"),
        (
            "Parser key \"batch_size\":\n  Expected a <class 'int'>. Got value: x",
            "data.batch_size must be a whole number, got 'x'.",
        ),
        (
            "Parser key \"teacher\":\n  Expected a typing.Literal['shared', 'ema']. Got value: foo",
            "model.teacher must be shared or ema, got 'foo'.",
        ),
        (
            "Parser key \"tau\":\n  Errors:\n    - Expected a <class 'float'>\n    - Expected a <class 'NoneType'>\n"
            "  Given value type: <class 'str'>\n  Given value: abc",
            "model.tau must be a number or null, got 'abc'.",
        ),
        ("Expected a dot import path string: Sempat", "Discovery, Found, "),
        ("something\n  never seen\n before", "something never seen before"),
    ],
)
def test_each_kind_of_message_becomes_what_was_wrong_and_what_is_legal(message, said):
    told = explain(message, OPTIONS)
    assert said in told
    assert len(told.splitlines()) <= 2


def test_class_that_runs_commands_is_refused_by_name():
    assert explain("Importing 'os.system' is not allowed, denied by the 'os' entry", OPTIONS).startswith("'os.system' ")
