from __future__ import annotations

from pathlib import Path

import pytest

from tvmkd.boards.sysfs import Files, Listing, Tree, found, whole

CONTENT = {
    "/sys/cpu/cpu0/freq": "100\n",
    "/sys/cpu/cpu2/freq": "-3",
    "/sys/cpu/cpu10/freq": "fast",
    "/sys/cpu/cpufreq/freq": "1",
    "/proc/lines": "a: 1\nb:  two words \n",
}


@pytest.fixture(params=["tree", "listing"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    if request.param == "listing":
        return Listing(CONTENT)
    for name, text in CONTENT.items():
        path = tmp_path / name[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(tmp_path)


def test_text_has_no_blanks_around_it_and_is_none_where_there_is_no_file(files: Files) -> None:
    assert files.text("/sys/cpu/cpu0/freq") == "100"
    assert files.text("/sys/cpu/cpu1/freq") is None
    assert files.text("/sys/cpu") is None


def test_names_match_by_parts_in_the_order_of_their_numbers(files: Files) -> None:
    folders = ["/sys/cpu/cpu0", "/sys/cpu/cpu2", "/sys/cpu/cpu10"]
    assert files.glob("/sys/cpu/cpu[0-9]*") == folders
    assert files.glob("/sys/cpu/cpu[0-9]*/freq") == [f"{folder}/freq" for folder in folders]
    assert files.glob("/sys/*/cpufreq/freq") == ["/sys/cpu/cpufreq/freq"]
    assert files.glob("/sys/*/freq") == []


def test_a_whole_number_is_nothing_else(files: Files) -> None:
    values = [whole(files, path) for path in sorted(CONTENT)]
    assert values == [None, 100, None, -3, 1]


def test_found_is_the_first_group_on_any_line(files: Files) -> None:
    assert found(files, "/proc/lines", r"^b:(.*)$") == "two words"
    assert found(files, "/proc/lines", r"^c:(.*)$") is None
    assert found(files, "/proc/none", r"^b:(.*)$") is None


def test_this_machines_files_are_at_the_root() -> None:
    assert whole(Tree(), "/proc/self/oom_score_adj") is not None
    assert "/proc/self/status" in Tree().glob("/proc/self/stat*")
