import signal
import subprocess
import sys
import time
from unittest.mock import MagicMock

import filelock  # noqa: F401, before a test hides fcntl from it
import pytest

from .experiment_fake import make_fake

fake = pytest.fixture(make_fake)

ONE = ("--axis", "backbone=a", "--seeds", "0", "--data", "ecssd")


def names(calls):
    return [words[words.index("--name") + 1] for words in calls]


def test_failed_run_does_not_stop_the_rest_and_is_reported_with_its_reason(fake, capsys):
    fake.order("fail", "a-s0")
    assert fake.run(*ONE) == 1
    assert len(fake.calls()) == 3
    error = capsys.readouterr().err
    assert "1 run failed:" in error
    assert "a-s0: DUTS-TR is not here." in error
    assert "runs/mine/logs/a-s0.log" in error
    table = (fake.folder / "runs/mine/table.md").read_text()
    assert "2 of 3 runs finished" in table
    assert "| a | no | no |  | - |" in table


def test_failed_run_is_resumed_by_the_next_call(fake):
    fake.order("fail", "a-s0")
    assert fake.run(*ONE) == 1
    first = fake.calls()[0]
    (fake.folder / "fail").unlink()
    assert fake.run(*ONE) == 0
    assert fake.calls() == [[*first, "--resume"]]


def test_interrupted_experiment_stops_its_run_and_says_how_to_go_on(fake, capsys):
    fake.order("stop", "a-crop-s0")
    started = time.monotonic()
    assert fake.run(*ONE) == 130
    assert time.monotonic() - started < 30, "the run at work got the signal"
    error = capsys.readouterr().err
    assert "segtricks experiment mine/grid.yaml --axis backbone=a --seeds 0 --data ecssd" in error
    assert len(fake.calls()) == 2
    assert fake.run(*ONE) == 0
    words = fake.calls()
    assert names(words) == ["mine/a-crop-s0", "mine/tokencut-ecssd"]
    assert words[0][-1] == "--resume"


def test_stopped_run_without_training_starts_again(fake):
    fake.order("fail", "tokencut-ecssd")
    assert fake.run(*ONE) == 1
    (fake.folder / "fail").unlink()
    fake.calls()
    assert fake.run(*ONE) == 0, "what was left of it did not stand in the way"
    assert "--resume" not in fake.calls()[0]


def test_second_process_on_the_same_experiment_is_refused(fake, capsys):
    from segtricks.experiments.run import locked

    with locked(fake.folder / "runs/mine"):
        assert fake.run(*ONE) == 2
    assert "at work in another process" in capsys.readouterr().err
    assert fake.run(*ONE) == 0


def test_runs_are_made_without_fcntl_which_windows_lacks(fake, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    given = []
    popen = subprocess.Popen

    def noted(*words, **options):
        given.append(options.get("pass_fds", ()))
        return popen(*words, **options)

    monkeypatch.setattr(subprocess, "Popen", noted)
    assert fake.run(*ONE) == 0
    assert set(given) == {()}, "Popen refuses descriptors on Windows"


@pytest.mark.parametrize(("platform", "expected"), [("linux", [signal.SIGINT]), ("win32", [])])
def test_the_run_at_work_gets_one_signal_which_on_windows_is_the_consoles(tmp_path, monkeypatch, platform, expected):
    from segtricks.experiments import run

    child = MagicMock()
    child.__enter__.return_value = child
    child.wait.side_effect = [KeyboardInterrupt, 0]
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: child)
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(KeyboardInterrupt):
        run._execute([], tmp_path / "log.txt", {}, None)
    assert [call.args[0] for call in child.send_signal.call_args_list] == expected
