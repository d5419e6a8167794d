"""The check of comments, docstrings and test names: each kind of fault in its variants."""

from pathlib import Path

import pytest

from tools import check_language
from tools.check_language import check, main, name_faults, prose_faults

LONG = " ".join(["word"] * 21)
FINE = " ".join(["word"] * 20)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def found(path: Path) -> list[tuple[int, str]]:
    return [(fault.line, fault.message) for fault in check(path)]


@pytest.mark.parametrize(
    "text",
    [
        f"{LONG}.",
        f"First sentence. {LONG.capitalize()}.",
        f"Is it? {LONG.capitalize()}",
        f"{FINE.capitalize()}\nword.",
        f"First paragraph\n\n{LONG.capitalize()}",
        f"Raises: {LONG.capitalize()}",
    ],
)
def test_sentence_of_21_words_is_a_fault(text: str) -> None:
    assert any("21 words in a sentence" in fault for fault in prose_faults(text))


@pytest.mark.parametrize(
    "text",
    [
        f"{FINE}.",
        f"{FINE}. {FINE.capitalize()}.",
        f"{FINE}; {FINE}",
        f"{FINE}: {FINE.capitalize()}",
        f"{FINE}\n\n{FINE}",
        f"{FINE}\n- {FINE}",
        f"A header: `{LONG}` is one word.",
        f'A text: "{LONG}" is one word.',
        f"{FINE} — … :",
    ],
)
def test_sentence_of_20_words_is_no_fault(text: str) -> None:
    assert list(prose_faults(text)) == []


@pytest.mark.parametrize(
    ("word", "instead"),
    [
        ("whoever", "actor"),
        ("Nobody", "actor"),
        ("no one", "actor"),
        ("hears", "receives"),
        ("told", "reports"),
        ("vouched", "verifies"),
        ("believes", "accepts"),
        ("trusts to", "assumes"),
        ("comes of it", "results"),
        ("STRANGERS", "unknown source"),
        ("clashed", "conflict"),
        ("lapsed", "expire"),
        ("seals", "MAC"),
        ("therein", "plain English"),
        ("took back", "unregister"),
    ],
)
def test_forbidden_word_is_a_fault_with_another_word(word: str, instead: str) -> None:
    (fault,) = prose_faults(f"The agent {word} something.")
    assert f'"{word}"' in fault
    assert instead in fault


@pytest.mark.parametrize(
    "text",
    ["The untoldable, whoeverish retelling", "The word `told`.", 'The text "nobody".', "<lapsed>"],
)
def test_word_in_another_word_or_in_code_is_no_fault(text: str) -> None:
    assert list(prose_faults(text)) == []


@pytest.mark.parametrize("first", ["a", "the", "what", "who", "it", "no", "every", "of", "that"])
def test_name_with_a_vague_first_word_is_a_fault(first: str) -> None:
    (fault,) = name_faults(f"test_{first}_call_rings")
    assert "does not begin with the unit" in fault


def test_name_of_61_characters_is_a_fault() -> None:
    assert list(name_faults("test_" + "x" * 55)) == []
    (fault,) = name_faults("test_" + "x" * 56)
    assert "61 characters; 60 at most" in fault


@pytest.mark.parametrize("name", ["test_call_rings", "test_another_call", "the_helper", "Test_a_b"])
def test_name_of_a_unit_or_of_no_test_is_no_fault(name: str) -> None:
    assert list(name_faults(name)) == []


def test_docstrings_of_each_kind_are_checked(tmp_path: Path) -> None:
    text = '"""Told."""\n\nclass C:\n    """Told."""\n\n    async def f():\n        """Told."""\n'
    assert [line for line, _ in found(write(tmp_path / "one.py", text))] == [1, 4, 7]


def test_comment_lines_are_one_text_at_its_first_line(tmp_path: Path) -> None:
    half = " ".join(["word"] * 11)
    text = f"x = 1\n# {half}\n# {half}\ny = 2\n# {half}\n\n# {half}\n"
    ((line, message),) = found(write(tmp_path / "one.py", text))
    assert (line, "22 words" in message) == (2, True)


@pytest.mark.parametrize("comment", ["noqa: TOLD", "type: ignore", "pragma: no cover", "fmt: skip"])
def test_comment_for_a_tool_is_no_prose(tmp_path: Path, comment: str) -> None:
    assert found(write(tmp_path / "one.py", f"x = 1  # {comment} told\n")) == []


def test_string_that_is_no_docstring_is_not_checked(tmp_path: Path) -> None:
    assert found(write(tmp_path / "one.py", 'x = "told"\n\ndef f():\n    return "told"\n')) == []


def test_names_are_checked_in_test_files_only(tmp_path: Path) -> None:
    text = (
        "def test_the_call():\n    ...\n\nclass T:\n    async def test_a_call(self):\n        ...\n"
    )
    assert [line for line, _ in found(write(tmp_path / "test_one.py", text))] == [1, 5]
    assert found(write(tmp_path / "one.py", text)) == []


def test_main_prints_place_and_fault_and_returns_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = write(folder / "one.py", "x = 1\n# The agent told it.\n")
    write(folder / "one.txt", "# told")
    assert main([str(tmp_path)]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f'{path}:2: "told": ')
    assert last == "1 faults of language"
    path.write_text("x = 1\n", encoding="utf-8")
    assert main([str(path), str(folder / "one.txt")]) == 0
    assert capsys.readouterr().out == ""


def test_main_without_arguments_checks_each_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in check_language.FOLDERS:
        (tmp_path / name).mkdir()
        write(tmp_path / name / "one.py", "# told\n")
    monkeypatch.setattr(check_language, "ROOT", tmp_path)
    assert main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert {line.split("/")[0] for line in lines[:-1]} == set(check_language.FOLDERS)
