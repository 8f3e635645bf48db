"""Promises: a proof that is missing, was skipped, failed or did not run is a fault."""

import json
from pathlib import Path

import pytest

from tools.check_promises import (
    Promise,
    existence_faults,
    format_page,
    load_promises,
    main,
    result_faults,
    shape_faults,
)
from tools.project_files import ROOT

PROOF = "tests/test_one.py::test_a"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    (tmp_path / "bench").mkdir()
    (tmp_path / "docs" / "promises.toml").write_text(
        '[[promise]]\nid = "a.b"\narea = "x"\ntext = "It works."\n'
        f'proof = ["{PROOF}", "bench:outrider/2k/2"]\n'
    )
    (tmp_path / "tests" / "test_one.py").write_text(
        "class TestC:\n    def test_m(self): ...\ndef test_a(): ...\n"
    )
    rows = {"rows": [{"program": "outrider", "case": "2k", "workers": 2}], "ratios": {"cpu": 1.0}}
    (tmp_path / "bench" / "latest.json").write_text(json.dumps(rows))
    return tmp_path


def run(project: Path, outcomes: dict[str, str] | None, *arguments: str) -> int:
    main(["--write"], project)
    if outcomes is None:
        return main(list(arguments), project)
    results = project / "proofs.json"
    results.write_text(json.dumps(outcomes))
    return main(["--results", str(results), *arguments], project)


def test_a_proof_that_passed_is_enough(project: Path) -> None:
    assert run(project, {PROOF: "passed"}) == 0


def test_all_parameters_of_a_proof_count(project: Path) -> None:
    assert run(project, {f"{PROOF}[1]": "passed", f"{PROOF}[2]": "passed"}) == 0
    assert run(project, {f"{PROOF}[1]": "passed", f"{PROOF}[2]": "failed"}) == 1


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_a_proof_that_did_not_pass_fails(
    project: Path, outcome: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project, {PROOF: outcome}) == 1
    assert outcome in capsys.readouterr().out


def test_a_proof_that_did_not_run_fails(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(project, {"tests/test_one.py::test_another": "passed"}) == 1
    assert "did not run" in capsys.readouterr().out


def test_missing_results_fail(project: Path) -> None:
    main(["--write"], project)
    assert main(["--results", str(project / "nothing.json")], project) == 1


@pytest.mark.parametrize("proof", ["tests/test_one.py::test_b", "tests/no.py::test_a", "bench:none"])
def test_a_proof_that_does_not_exist_is_named(project: Path, proof: str) -> None:
    promise = Promise("a.b", "It works.", "x", (proof,))
    assert [proof in fault for fault in existence_faults([promise], project)] == [True]


@pytest.mark.parametrize("proof", [PROOF, "tests/test_one.py::TestC::test_m", "bench:cpu"])
def test_a_proof_that_exists_is_taken(project: Path, proof: str) -> None:
    assert existence_faults([Promise("a.b", "It works.", "x", (proof,))], project) == []


def test_an_open_promise_is_loud_and_refused_when_strict(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "docs" / "promises.toml").write_text(
        '[[promise]]\nid = "a"\narea = "x"\ntext = "It will."\nopen = true\n'
    )
    assert run(project, None) == 0
    assert "OPEN: 1 of 1" in capsys.readouterr().out
    assert run(project, None, "--strict") == 1


def test_a_page_out_of_date_fails(project: Path) -> None:
    assert run(project, None) == 0
    (project / "docs" / "reference" / "promises.md").write_text("old")
    assert main([], project) == 1


@pytest.mark.parametrize(
    "promise",
    [
        Promise("Bad Id", "It works.", "x", (PROOF,)),
        Promise("a", "It works", "x", (PROOF,)),
        Promise("a", "It works.", "x"),
        Promise("a", "It works.", "x", (PROOF,), open=True),
    ],
)
def test_a_malformed_promise_is_refused(promise: Promise) -> None:
    assert shape_faults([promise])


def test_the_same_id_twice_is_refused() -> None:
    promise = Promise("a", "It works.", "x", (PROOF,))
    assert shape_faults([promise, promise]) == ["a: twice"]


def test_results_of_several_workers_of_one_file_are_taken() -> None:
    promise = Promise("a", "It works.", "x", (PROOF,))
    assert result_faults([promise], {f"{PROOF}@group": "passed"}) == []


def test_the_page_names_every_promise_of_the_project() -> None:
    promises = load_promises(ROOT / "docs" / "promises.toml")
    page = format_page(promises)
    assert len(promises) > 50
    assert all(promise.text in page for promise in promises)
