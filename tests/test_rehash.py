"""tools/rehash.py: a hash changes without training only if the code computes the same
numbers."""

import json
import os
import subprocess
import sys

import pytest
import rehash


def tree(hash_, job):
    return {
        "recipes": {"vae": hash_},
        "settings": {"vae, trained": {"hash": hash_, "recipe": hash_, "job": job}},
    }


def test_rehash_changed_lists_recipes_settings_and_jobs_with_another_hash():
    assert rehash.changed(tree("a", "j"), tree("a", "j")) == ([], [], [])
    assert rehash.changed(tree("a", "j"), tree("b", "j")) == (
        ["vae"],
        ["vae, trained"],
        [],
    )
    assert rehash.changed(tree("a", "j"), tree("a", "k")) == ([], [], [])
    assert rehash.changed(tree("a", "j"), tree("b", "k")) == (
        ["vae"],
        ["vae, trained"],
        ["vae, trained"],
    )


def test_rehash_renames_only_rows_with_the_old_hash_and_an_equal_proof(
    tmp_path, monkeypatch
):
    rows = [
        {"setting": "trained", "recipe": "a"},
        {"setting": "trained", "recipe": "older"},
    ]
    (tmp_path / "results").mkdir()
    (tmp_path / "course_lib" / "zoo").mkdir(parents=True)
    results, manifest = (
        tmp_path / "results" / "vae.json",
        tmp_path / "course_lib" / "zoo" / "manifest.json",
    )
    results.write_text(json.dumps({"short": {}, "rows": rows}))
    manifest.write_text(json.dumps({"vae": {"recipe": "a"}}))
    monkeypatch.setattr(rehash, "ROOT", tmp_path)
    assert rehash.write_hashes(tree("a", "j"), tree("b", "j"), set()) == 0
    assert rehash.write_hashes(tree("a", "j"), tree("b", "j"), {"vae, trained"}) == 1
    assert [row["recipe"] for row in json.loads(results.read_text())["rows"]] == [
        "b",
        "older",
    ]
    assert json.loads(manifest.read_text())["vae"]["recipe"] == "a"
    assert rehash.write_hashes(tree("a", "j"), tree("b", "j"), {"vae"}) == 1
    assert json.loads(manifest.read_text())["vae"]["recipe"] == "b"


@pytest.mark.slow
@pytest.mark.parametrize(
    "new, fresh",
    [
        (
            "net = mlp(784, 256, 256, 2 * dim, norm=None)\n    encoder = "
            "nn.Sequential(nn.Flatten(), net)",
            True,
        ),
        (
            "encoder = nn.Sequential(nn.Flatten(), mlp(784, 256, 128, 2 * dim, "
            "norm=None))",
            False,
        ),
    ],
    ids=["in other words", "of another width"],
)
def test_rehash_accepts_an_equivalent_builder_and_rejects_another_network(
    tmp_path, copied, new, fresh
):
    """The whole tool, on a copy of the course as a repository of its own."""
    clone = tmp_path / "clone"
    copied(clone)
    paths = os.pathsep.join(
        [str(clone), str(clone / "tools"), os.environ["PYTHONPATH"]]
    )
    git = {
        f"GIT_{who}_{what}": "nobody"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }

    def run(*command, code=0):
        environment = os.environ | git | {"PYTHONPATH": paths}
        ran = subprocess.run(
            command, cwd=clone, env=environment, capture_output=True, text=True
        )
        assert ran.returncode == code, ran.stderr
        return ran.stdout

    for command in ("init --quiet", "add --all", "commit --quiet --message x"):
        run("git", *command.split())
    recipes = clone / "course_lib" / "latent" / "recipes.py"
    text, old = (
        recipes.read_text(),
        "encoder = nn.Sequential(nn.Flatten(), mlp(784, 256, 256, 2 * dim, norm=None))",
    )
    assert text.count(old) == 1
    recipes.write_text(text.replace(old, new))
    stale = "from course_lib.experiments import catalogue, results\n"
    stale += "print(results.stale('vae-plane', catalogue()['vae-plane']))"
    assert "trained, seed 0" in run(sys.executable, "-c", stale)
    said = run(sys.executable, "tools/rehash.py", code=0 if fresh else 1)
    assert ("so still stale" in said) is not fresh
    assert ("trained, seed 0" in run(sys.executable, "-c", stale)) is not fresh
