"""Programs that stay: what they are told, what they may answer, and what each breach costs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from separator_signals import RATE, answer, noise, query
from served_programs import Written

from sam_audio_bench.errors import BadSeparation, Precondition, UsageError
from sam_audio_bench.options import parse_specification, split_specifications
from sam_audio_bench.registry import build
from sam_audio_bench.separators.serving import ServedSeparator
from sam_audio_bench.types import Prompt, Separator

MIXTURE = noise(0.1, channels=2)
NEVER = "time.sleep(600)"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[object]:
    """Makes separators, which end with the test."""
    made = []

    def make(written: Written | str, **options: object) -> ServedSeparator:
        separator = ServedSeparator(written if isinstance(written, str) else written.command, **options)
        made.append(separator)
        return separator

    yield make
    for separator in made:
        separator.release_processes()


def test_one_start_answers_all(served, tmp_path: Path) -> None:
    program = Written(tmp_path)
    separator = served(program)
    assert isinstance(separator, Separator)
    assert program.starts == 0
    for _ in range(3):
        found = answer(separator, 3 * MIXTURE)
        assert torch.equal(found.target.samples, 3 * MIXTURE)
        assert not found.residual.samples.any()
        assert found.target.rate == RATE
    assert program.starts == 1
    separator.release_processes()
    answer(separator, MIXTURE)
    assert program.starts == 2


def test_a_query_says_everything(served, tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    alone = "assert sorted(os.listdir(query['folder'])) == ['mixture.wav', 'text.txt']"
    separator = served(Written(tmp_path, f"open({str(seen)!r}, 'w').write(line)\n{alone}\nanswer(query)"))
    prompt = Prompt(text="a dog", spans=(("+", 1, 2.5), ("-", 3.0, 4.0)), video="a b.mp4", mask="m.npz")
    separator.separate([query(MIXTURE, prompt)], [2**63 - 1])
    told = json.loads(seen.read_text())
    folder = Path(told.pop("folder"))
    assert told == {
        "id": 1, "mixture": str(folder / "mixture.wav"), "rate": RATE, "seed": 2**63 - 1, "text": "a dog",
        "spans": [["+", 1.0, 2.5], ["-", 3.0, 4.0]], "video": "a b.mp4", "mask": "m.npz",
    }  # fmt: skip
    assert not folder.exists()
    separator.separate([query(MIXTURE, Prompt(spans=(("+", 0.0, 1.0),)))], [0])
    told = json.loads(seen.read_text())
    assert (told["id"], told["text"], told["video"], told["mask"]) == (2, None, None, None)


TEXTS = ["two\nlines\r\n", "a 'loud' \"dog\" \\ \\n", '"id": 7, "folder": "/tmp"}', "Größe \u2028 日本 🐕", "a\0b",
         "\ud800 half", "--output=/tmp/x", "x" * 300_000]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_any_text_travels_intact(text: str, served, tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    separator = served(Written(tmp_path, f"open({str(seen)!r}, 'w').write(line)\nanswer(query)"))
    answer(separator, MIXTURE, Prompt(text=text))
    assert seen.read_text().count("\n") == 1
    assert json.loads(seen.read_text())["text"] == text


@given(text=st.text(min_size=1).filter(str.strip))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_texts_of_any_letters_travel_intact(text: str, echo: tuple[ServedSeparator, Path]) -> None:
    separator, seen = echo
    answer(separator, MIXTURE, Prompt(text=text))
    told = json.loads(seen.read_text())
    assert told["query"] == text
    assert told["file"] == text.encode("utf-8", "backslashreplace").hex()


@pytest.fixture
def echo(served, tmp_path: Path) -> tuple[ServedSeparator, Path]:
    seen = tmp_path / "seen.json"
    code = (
        "file = open(os.path.join(query['folder'], 'text.txt'), 'rb').read().hex()\n"
        f"json.dump({{'query': query['text'], 'file': file}}, open({str(seen)!r}, 'w'))\nanswer(query)"
    )
    return served(Written(tmp_path, code)), seen


def test_loading_is_not_counted(served, tmp_path: Path) -> None:
    program = Written(tmp_path, loading="time.sleep(2)")
    found = answer(served(program, timeout=1.5, load_timeout=60), MIXTURE)
    assert 0 < found.seconds < 1.5
    with pytest.raises(
        BadSeparation, match=r"within 0.2 seconds \(see --timeout; for loading alone, --model-args load_"
    ):
        answer(served(program, timeout=0.2), MIXTURE)


def test_a_residual_and_other_names(served, tmp_path: Path) -> None:
    for target in ("'a b.wav'", "os.path.join(query['folder'], 'a b.wav')"):
        written = f"copy(query, 'a b.wav')\nanswer(query, target={target}, residual='target.wav')"
        found = answer(served(Written(tmp_path, written)), MIXTURE)
        assert torch.equal(found.target.samples, MIXTURE)
        assert torch.equal(found.residual.samples, MIXTURE)


def test_lines_of_other_systems_are_read(served, tmp_path: Path) -> None:
    code = 'copy(query)\nsay(f\' {{\\t"target" : "target.wav", "id":{query["id"]}}} \', end=\'\\r\\n\')'
    assert torch.equal(answer(served(Written(tmp_path, code)), MIXTURE).target.samples, MIXTURE)


def test_a_longer_line_than_a_pipe_holds_is_read(served, tmp_path: Path) -> None:
    code = "copy(query)\nsay(json.dumps({'id': query['id'], 'target': './' * 100000 + 'target.wav'}))"
    assert torch.equal(answer(served(Written(tmp_path, code)), MIXTURE).target.samples, MIXTURE)


TWICE = "copy(query); say('\\n'.join([json.dumps({'id': 1, 'target': 'target.wav'})] * 2))"
BREACHES = {
    "say('loading 10 %')": r"expected an answer as \{\"id\": 1, \"target\": \"FILE\"\}, found 'loading 10 %' \(",
    "say('')": "found ''",
    "say('[]')": "found '\\[\\]'",
    "say('[' * 100000)": r"found '\[\[\[\[.*' …",
    "say('{\"a\":' * 100000)": "expected an answer as",
    "os.write(1, b'\\xff\\xfe\\n')": r"found '\\\\xff\\\\xfe'",
    "os.write(1, b'\\x1b[31m\\n')": r"found '\\x1b\[31m'",
    "answer(query, seconds=1)": "seconds",
    "answer(query, target=7)": "expected an answer as",
    "answer(query, id=str(query['id']))": "expected an answer as",
    "answer(query, id=query['id'] + 1)": "expected the answer to query 1, found one to 2",
    "answer(query, id=0)": "expected the answer to query 1, found one to 0",
    "answer(query, error='no')": "expected a target or an error in the answer",
    "say(json.dumps({'id': query['id']}))": "expected a target or an error in the answer",
    TWICE: r"expected one line as its answer, found '\{\"id\": 1",
    "copy(query); say(json.dumps({'id': 1, 'target': 'target.wav'}) + '\\ndone')": "expected one line .* found 'done",
    f"say('{{\"id\": 1, ', end=''); {NEVER}": r"within 0.7 seconds \(see --timeout\), found half a line, '\{",
    "say('{\"id\": 1, ', end=''); sys.exit()": "exit code 0 with half a line, '{\"id\": 1, ' instead of an",
    NEVER: r"within 0.7 seconds \(see --timeout\), found nothing \(does it end its lines",
    f"os.close(1); {NEVER}": "closed its standard output instead of an answer",
    "sys.exit('out of memory')": "ended with exit code 1 instead of an answer: out of memory; it is",
    "os.kill(os.getpid(), signal.SIGKILL)": "was ended by SIGKILL instead of an answer: it wrote nothing to stderr",
    "subprocess.Popen(['sleep', '60'], start_new_session=True); os._exit(7)": "ended with exit code 7",
    "while True: os.write(1, b'a' * 65536)": "lines of at most 1,048,576 bytes, found one that begins with 'aaa",
    "while True: say('y')": "found 'y'",
    "shutil.rmtree(query['folder']); sys.exit(3)": "exit code 3",
}  # fmt: skip


@pytest.mark.parametrize("misdeed", BREACHES, ids=range(len(BREACHES)))
def test_a_breach_costs_its_item_and_the_next_start_answers(misdeed: str, served, tmp_path: Path) -> None:
    program = Written(tmp_path, misdeed, turn="start == 1")
    separator = served(program, timeout=0.7 if NEVER in misdeed and "close" not in misdeed else 60, load_timeout=60)
    with pytest.raises(BadSeparation, match=BREACHES[misdeed]) as caught:
        answer(separator, MIXTURE)
    assert str(caught.value).startswith(f"{separator.name} ")
    assert str(caught.value).endswith("; it is started again for the next item")
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()
    separator.timeout = 60
    assert torch.equal(answer(separator, MIXTURE).target.samples, MIXTURE)
    assert program.starts == 2


@pytest.mark.parametrize(
    ("loading", "message"),
    [
        (
            "print('Loading weights…', flush=True)",
            r'expected the line \{"ready": true\} first, found \'Loading weights',
        ),
        ("say('{\"ready\": false}')", "expected the line .* first, found"),
        ('say(\'{"ready": true, "name": "x"}\')', "name"),
        ("sys.exit(4)", "ended with exit code 4 instead of an answer"),
        (NEVER, r"expected the line \{\"ready\": true\} when it is loaded within 0.7 seconds"),
        ("for line in sys.stdin: say(line)", "expected the line .* found nothing"),
    ],
)
def test_a_program_that_does_not_get_ready(loading: str, message: str, served, tmp_path: Path) -> None:
    limit = 0.7 if "0.7" in message or "nothing" in message else 60
    separator = served(Written(tmp_path, loading=f"if start == 1:\n  {loading}"), load_timeout=limit)
    with pytest.raises(BadSeparation, match=message):
        answer(separator, MIXTURE)
    separator.load_timeout = 60
    answer(separator, MIXTURE)


def wrote(code: str, target: str) -> str:
    return f"{code}\nsay(json.dumps({{'id': query['id'], 'target': {target}}}))"


FILES = {
    wrote("", "'target.wav'"): r"as a file that it wrote into its query's folder, found 'target.wav'",
    wrote("", "''"): "found ''",
    wrote("", "'.'"): r"found '\.'",
    wrote("", "'/etc/hostname'"): "found '/etc/hostname'",
    wrote("open(query['folder'] + 'x', 'w').close()", "query['folder'] + 'x'"): "as a file that it wrote",
    wrote("", "'../../etc/hostname'"): "as a file that it wrote",
    wrote("os.symlink('/etc/hostname', query['folder'] + '/l')", "'l'"): "found 'l'",
    wrote("os.mkfifo(query['folder'] + '/f')", "'f'"): "found 'f'",
    wrote("os.symlink('/dev/zero', query['folder'] + '/z')", "'z'"): "found 'z'",
    wrote("", "'a\\0b'"): r"found 'a\\x00b'",
    wrote("", "'x' * 5000"): "found 'xxx",
    wrote("open(query['folder'] + '/e', 'w').close()", "'e'"): "answered, but: expected",
    wrote("open(query['folder'] + '/e', 'w').write('hello' * 99)", "'e'"): "answered, but: expected",
    "answer(query, residual='r.wav')": "expected the residual of .* found 'r.wav'",
}


@pytest.mark.parametrize("code", FILES, ids=range(len(FILES)))
def test_a_file_that_will_not_do_costs_its_item_but_no_start(
    code: str, served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # where some of them write beside their folder
    program = Written(tmp_path, code, turn="query['id'] % 2")
    separator = served(program, max_crashes=1)
    for _ in range(2):
        with pytest.raises(BadSeparation, match=FILES[code]) as caught:
            answer(separator, MIXTURE)
        assert caught.value.status == "error"
        assert torch.equal(answer(separator, MIXTURE).target.samples, MIXTURE)
    assert program.starts == 1


def test_what_a_file_holds_is_checked_as_for_a_command(served, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "nan.wav", np.full((9, 1), np.nan), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "slow.wav", np.zeros((9, 1)), 8000)
    code = f"shutil.copy({str(tmp_path)!r} + ('/nan.wav', '/slow.wav')[query['id'] - 1], query['folder'] + '/t.wav')"
    separator = served(Written(tmp_path, wrote(code, "'t.wav'")))
    with pytest.raises(BadSeparation, match=r"answered, but: .*NaN") as caught:
        answer(separator, MIXTURE)
    assert caught.value.status == "non_finite"
    with pytest.raises(
        BadSeparation, match=r"expected the target of serve-.* at the mixture's 16000 Hz, found 8000 Hz"
    ):
        answer(separator, MIXTURE)


def test_an_error_costs_its_item_alone(served, tmp_path: Path) -> None:
    program = Written(tmp_path, "say(json.dumps({'id': query['id'], 'error': 'too\\nlong'}))", turn="query['id'] == 1")
    separator = served(program, max_crashes=1)
    with pytest.raises(BadSeparation, match=r"serve-python.* could not answer: too\nlong"):
        answer(separator, MIXTURE)
    answer(separator, MIXTURE)
    assert program.starts == 1


def test_given_up_after_crashes_in_a_row(served, tmp_path: Path) -> None:
    program = Written(tmp_path, "sys.exit('no GPU')", turn="query['id'] != 2")
    separator = served(program, max_crashes=3)
    outcomes = []
    for _ in range(7):
        try:
            answer(separator, MIXTURE)
            outcomes.append("")
        except BadSeparation as error:
            outcomes.append(str(error))
    assert program.starts == 4  # the second answers once
    assert outcomes[1] == ""
    died = f"{separator.name} ended with exit code 1 instead of an answer: no GPU"
    again = "; it is started again for the next item"
    assert [outcomes[0], *outcomes[2:4]] == [died + again] * 3
    assert outcomes[4] == f"{died}; it is given up after 3 crashes in a row"
    assert outcomes[5] == outcomes[6]
    assert outcomes[6].startswith(f"{separator.name} was given up after 3 crashes in a row: at last it ended with")
    separator.release_processes()  # a run is over; the next one tries again
    with pytest.raises(BadSeparation, match="started again for the next item"):
        answer(separator, MIXTURE)


def test_a_program_that_never_reads(served, tmp_path: Path) -> None:
    separator = served('sh -c \'echo "{\\"ready\\": true}"; exec sleep 60\'', timeout=0.5)
    with pytest.raises(BadSeparation, match=r"found that it has not read its query \([\d,]+ bytes are left\)"):
        answer(separator, MIXTURE, Prompt(text="x" * (1 << 20)))


def test_a_program_that_goes_between_queries_costs_nothing(
    served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = Written(tmp_path, "answer(query)\nsys.exit(5)", turn="start == 1")
    separator = served(program)
    answer(separator, MIXTURE)
    while not separator._dialogue.describe_exit():
        continue
    answer(separator, MIXTURE)
    assert program.starts == 2
    assert "ended with exit code 5 after its last answer; it is started again" in capfd.readouterr().err


def test_a_word_after_the_answer_is_told(served, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    note = tmp_path / "note"
    wait = f"while not os.path.exists({str(note)!r}): time.sleep(0.01)"
    code = f"answer(query)\n{wait}\nsay('done'); open({str(note)!r}, 'a').write('said')"
    program = Written(tmp_path, code, turn="start == 1")
    separator = served(program)
    answer(separator, MIXTURE)
    note.write_text("")
    while note.read_text() != "said":
        continue
    assert torch.equal(answer(separator, 2 * MIXTURE).target.samples, 2 * MIXTURE)
    assert program.starts == 2
    assert r"wrote 'done\n' without being asked after its last answer; it is started again" in capfd.readouterr().err


def test_of_endless_errors_the_end_is_passed_on(
    served, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sam_audio_bench.separators.dialogue._PASSED_ON", 100)
    code = "for k in range(1000): print(f'line {k:04}', file=sys.stderr)\nanswer(query)"
    answer(served(Written(tmp_path, code)), MIXTURE)
    told = capfd.readouterr().err
    assert told == "(9,900 bytes of standard error are left out here)\n" + "".join(
        f"line {k:04}\n" for k in range(990, 1000)
    )


def test_endless_errors_are_passed_on_in_parts(served, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = "while True: os.write(2, b'x' * 65535 + b'\\n')"
    separator = served(Written(tmp_path, code), timeout=0.5)
    with pytest.raises(BadSeparation, match=r"within 0\.5 seconds"):
        answer(separator, MIXTURE)
    told = capfd.readouterr().err
    assert re.match(r"\([\d,]+ bytes of standard error are left out here\)\nx", told)


def test_standard_error_is_passed_on_once(
    served, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sam_audio_bench.separators.dialogue._LARGEST_LOG", 4)  # what is longer begins anew
    code = "print('query', query['id'], file=sys.stderr)\nanswer(query)"
    loading, end = (f"print({word!r}, file=sys.stderr)" for word in ("loading", "bye"))
    separator = served(Written(tmp_path, code, loading=loading, end=end))
    for _ in range(3):
        answer(separator, MIXTURE)
    separator.release_processes()
    assert capfd.readouterr() == ("", "loading\nquery 1\nquery 2\nquery 3\nbye\n")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "expected a program and its arguments after serve:, found ''"),
        ("''", "expected a program and its arguments after serve:"),
        ("python 'x.py", "expected a command with balanced quotes"),
        ("python x.py {mixture} {target}", r"expected a command without placeholders after serve:, found \{mixture\}"),
        ("python x.py --text={text}", r"without placeholders after serve:, found \{text\}"),
    ],
)
def test_impossible_commands(command: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ServedSeparator(command)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0}, {"timeout": float("nan")}, {"timeout": "5"}, {"load_timeout": float("inf")},
        {"load_timeout": -1}, {"load_timeout": True}, {"max_crashes": 0}, {"max_crashes": 1.5}, {"max_crashes": True},
    ],
)  # fmt: skip
def test_impossible_options(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"expected .*{next(iter(options))}"):
        ServedSeparator("cat", **options)


def test_program_not_found_or_of_no_format(served, tmp_path: Path) -> None:
    with pytest.raises(Precondition, match="found no 'no-such-program' on the PATH"):
        ServedSeparator("no-such-program")
    (tmp_path / "data").write_bytes(b"\x7fELF rubbish")
    with pytest.raises(Precondition, match=r"which is not executable; make it executable \(chmod \+x\), or begin"):
        ServedSeparator(str(tmp_path / "data"))
    (tmp_path / "data").chmod(0o755)
    with pytest.raises(BadSeparation, match="could not be started: "):
        answer(served(str(tmp_path / "data")), MIXTURE)


def test_a_command_is_told_of_the_other_way() -> None:
    with pytest.raises(UsageError, match="spelt serve: where the program answers one query after another"):
        build("separator", "cmd:python x.py")


@pytest.mark.parametrize("kind", ["cmd", "serve"])
def test_options_of_a_program_stand_beside_it(kind: str) -> None:
    with pytest.raises(UsageError, match=rf"write --model '{kind}:python x.py' --model-args OPTION=VALUE"):
        build("separator", f"{kind}(load_timeout=3):python x.py")


def test_a_command_reaches_to_the_end() -> None:
    text = "hpss(margin=2),serve:python x.py --sizes=1,2 --name='a(b=c)'"
    assert split_specifications(text) == ["hpss(margin=2)", text.partition(",")[2]]
    assert parse_specification("serve:python x.py 'f(a=1)'").options == {}


def test_identity_is_the_command_and_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("import net\n")
    (tmp_path / "net.py").write_text("X = 1\n")

    def fingerprint(command: str = "python mine.py {}", **options: object) -> str:
        return build("separator", f"serve:{command}", options).identity.fingerprint()

    before = fingerprint()
    assert fingerprint(timeout=3.0, load_timeout=9, max_crashes=2) == before
    assert fingerprint("python mine.py {} -v") != before
    one = build("separator", "serve:python mine.py {}", {"load_timeout": 9}, timeout=7)
    assert one.component.timeout == 7
    assert one.identity.name.startswith("serve-python-")
    assert one.identity.name == build("separator", "serve:python mine.py {}").identity.name
    (tmp_path / "net.py").write_text("X = 2\n")
    assert fingerprint() != before


def test_temporary_files_go(served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    separator = served(Written(tmp_path, "sys.exit(1)", turn="query['id'] == 2"))
    answer(separator, MIXTURE)
    with pytest.raises(BadSeparation):
        answer(separator, MIXTURE)
    assert list((tmp_path / "t").iterdir()) == []
