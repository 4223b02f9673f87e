"""The command line of tools/client.py: what it prints, and the sentence and exit code for what it cannot do."""

import json
import subprocess
import sys

import pytest
from fitting_room.tools import bundled, headless, setup


def test_it_lists_every_workflow_and_what_each_lets_one_set(capsys):
    assert headless.main(["list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == bundled.names()
    assert headless.main(["params", "try_on"]) == 0
    words = capsys.readouterr().out
    assert headless.main(["params", "try_on", "--json"]) == 0
    params = json.loads(capsys.readouterr().out)
    assert params == bundled.load("try_on").params and all(name in words for name in params)


@pytest.mark.parametrize("arguments, sentence", [
    (["run", "try_no"], "did you mean try_on"),
    (["run", "try_on"], "needs a picture for garment_image"),
    (["run", "match_viewer", "--set", "person_image=server:a", "--set", "garment_image=server:b", "--server", "http://127.0.0.1:9"], "does not answer"),
    (["run", "match_viewer", "--set", "person_image=server:a", "--set", "garment_image=server:b", "--server", "127.0.0.1:9"], "write it like http://"),
    (["manifest", "rows.xlsx"], "must end in .csv or .jsonl"),
    (["manifest", "away.csv"], "cannot be read"),
])
def test_what_it_cannot_do_is_a_sentence(capsys, arguments, sentence):
    assert headless.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("stopped: ") and sentence in said and "Traceback" not in said


@pytest.mark.parametrize("arguments", [[], ["run"], ["run", "try_on", "--set", "seed"], ["manifest", "a.csv", "--ahead", "0"], ["dance"]])
def test_wrong_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as refused:
        headless.main(arguments)
    assert refused.value.code == 2 and "usage" in capsys.readouterr().err


@pytest.mark.parametrize("tool", ["client.py", "catalogue.py"])
def test_the_programs_start_from_any_folder_with_the_standard_library_alone(tool, tmp_path):
    done = subprocess.run([sys.executable, "-S", str(setup.ROOT / "tools" / tool), "--help"], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0 and "usage" in done.stdout, done.stderr
