from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stream_guard.detection.features import N
from stream_guard.detection.rules import PackError, check_file, compile_pack, load_pack
from stream_guard.detection.rules.document import MAX_BYTES
from stream_guard.detection.rules.pack import EXAMPLE
from stream_guard.detection.rules.store import PREFIX, kernel_of

SOURCE = """from stream_guard.detection.kernels import kernel


@kernel
def rules(x):
    return x + {number}
"""


def sources(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{PREFIX}*.py"))


def test_a_pack_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "bank.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + EXAMPLE.encode())
    pack = check_file(path)
    assert pack.source == str(path)
    assert pack.hash == load_pack(EXAMPLE, "x").hash


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, ": the file cannot be read: No such file or directory"),
        (b"pack: x\nversion: \xff", ":2: the file is not UTF-8"),
        (b"#" * (MAX_BYTES + 1), ": the file is larger than 1048576 bytes"),
        (b"pack: x", ":1:1: version: the field is missing"),
    ],
)
def test_a_file_that_cannot_be_a_pack_is_refused_by_name(
    tmp_path: Path, content: bytes | None, cause: str
) -> None:
    path = tmp_path / "bank.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PackError) as refused:
        check_file(path)
    assert str(refused.value).startswith(f"{path}{cause}")


def test_a_source_is_kept_once_under_its_content_and_compiled_code_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "kernels"
    first = kernel_of(SOURCE.format(number=1), folder)
    again = kernel_of(SOURCE.format(number=1), folder)
    other = kernel_of(SOURCE.format(number=2), folder)
    assert first is again
    assert (first(1), other(1)) == (2, 3)
    assert len(sources(folder)) == 2
    assert list((folder / "__pycache__").glob("*.nbc"))
    assert stat.S_IMODE(folder.stat().st_mode) & stat.S_IWOTH == 0


def test_nothing_is_written_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert kernel_of(SOURCE.format(number=5), None)(1) == 6
    assert not list(tmp_path.iterdir())


def test_an_altered_or_half_written_source_is_replaced_and_never_run(tmp_path: Path) -> None:
    kernel_of(SOURCE.format(number=7), tmp_path)
    (path,) = sources(tmp_path)
    for wrong in ("raise SystemExit", SOURCE.format(number=7)[:20]):
        path.write_text(wrong)
        sys.modules.pop(path.stem)
        assert kernel_of(SOURCE.format(number=7), tmp_path)(1) == 8
        assert path.read_text() == SOURCE.format(number=7)
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_source_that_is_there_is_not_written_again_as_its_age_is_part_of_numbas_key(
    tmp_path: Path,
) -> None:
    kernel_of(SOURCE.format(number=9), tmp_path)
    (path,) = sources(tmp_path)
    os.utime(path, (1, 1))
    sys.modules.pop(path.stem)
    kernel_of(SOURCE.format(number=9), tmp_path)
    assert path.stat().st_mtime == 1


@pytest.mark.skipif(os.name != "posix", reason="folders have no permissions of this kind elsewhere")
def test_a_folder_that_others_may_write_into_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="run chmod o-w on it, or use another folder"):
        kernel_of(SOURCE.format(number=1), tmp_path)


def test_another_process_reads_the_compiled_code_back(tmp_path: Path) -> None:
    pack = tmp_path / "bank.yaml"
    pack.write_text(EXAMPLE)
    compile_pack(check_file(pack), tmp_path / "kernels")
    script = (
        "from pathlib import Path\n"
        "from stream_guard.detection.rules import check_file, compile_pack\n"
        f"compiled = compile_pack(check_file({str(pack)!r}), Path({str(tmp_path / 'kernels')!r}))\n"
        "(group,) = compiled._groups\n"
        "print(sum(group.kernel.stats.cache_hits.values()), sum(group.kernel.stats.cache_misses.values()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.split() == ["1", "0"]


def test_a_changed_rule_compiles_one_kernel_and_a_changed_parameter_none(tmp_path: Path) -> None:
    def text(count: int, low: int = 1, last: str = ">=") -> str:
        rules = "".join(
            f"  - {{id: r-{n}, version: 1, name: {{en: a, zh: b}}, account: payer,\n"
            f"     params: {{low: {low + n}}},\n"
            f"     when: txn.amount {last if n == count - 1 else '>'} low, score: {n}, reason: r}}\n"
            for n in range(count)
        )
        return f"pack: p\nversion: '1'\nrules:\n{rules}"

    compile_pack(load_pack(text(9), "x"), tmp_path)
    assert len(sources(tmp_path)) == 2
    compiled = compile_pack(load_pack(text(9, low=50), "x"), tmp_path)
    assert len(sources(tmp_path)) == 2
    compile_pack(load_pack(text(9, last="<"), "x"), tmp_path)
    assert len(sources(tmp_path)) == 3
    matrix = np.full((1, N), np.nan)
    matrix[:] = 55
    assert compiled.evaluate(matrix, np.zeros(1, np.int64)).fired[0].tolist() == [1] * 5 + [0] * 4
