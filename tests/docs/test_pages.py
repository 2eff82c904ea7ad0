"""The pages: built as README says, from a copy, strictly; every public name is on one, and no link leads nowhere."""

from __future__ import annotations

import html
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pocketenv_fp
from pocketenv_fp import pocketenv, sandbox
from tests.names import public_names
from tests.places import ROOT

pytestmark = pytest.mark.slow

pytest.importorskip("zensical", reason="the extra docs is not installed")

PARTS = (".docs", ".mkdocs.yml", "CHANGELOG.md", "README.md", "notebooks", "pocketenv_fp")
COMMAND = re.search(r"`\.venv/bin/(zensical build [^`]*)`", (ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pages")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, root / part)
    assert COMMAND is not None
    built = subprocess.run(
        [Path(sys.executable).parent / "zensical", *COMMAND[1].split()[1:]],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "No issues found" in built.stdout + built.stderr
    assert "arning" not in built.stdout + built.stderr
    return root / "site"


def pages(site: Path) -> dict[str, str]:
    return {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}


def public() -> set[str]:
    """Where each public name is defined, or, in the two namespaces, where it is found."""
    found = {f"{module.__name__}.{name}" for module in (pocketenv, sandbox) for name in module.__all__}
    for name in {*public_names(pocketenv_fp)} - {
        *public_names(pocketenv),
        *public_names(sandbox),
        "pocketenv",
        "sandbox",
    }:
        home = inspect.getmodule(getattr(pocketenv_fp, name))
        # `identity` is a value, of a module's own.
        found.add(f"{home.__name__ if home else 'pocketenv_fp.steps.step'}.{name}")
    return found - {"pocketenv_fp.pocketenv.create_sandbox"}  # the alias, which its page describes in words


def test_pages_public_names(site: Path) -> None:
    """Each public name has a place with its signature and examples."""
    text = "\n".join(pages(site).values())
    assert {name for name in public() if f'id="{name}"' not in text} == set()
    # The page marks the prompts of an example: it is shown as a session.
    assert pages(site)["api/sandbox.html"].count('<span class="gp">') > len(public_names(sandbox))
    assert "&gt;&gt;&gt;" not in re.sub(r"<pre.*?</pre>", "", text, flags=re.DOTALL)
    for name in ("exec", "start", "copy_to"):
        block = text[text.index(f'id="pocketenv_fp.sandbox.{name}"') :][:20_000]
        shown = html.unescape(re.sub(r"<[^>]+>", "", block))
        assert re.search(rf"{name}\(\s*sandbox: Sandbox,.*?\) -> Result\[", shown, re.DOTALL)


ALIASES = (
    "Id Lifetime Limit LinkRule ListedPort Most Name Offset OnOutput PortNumber Progress SandboxName Seconds Text Wait"
)


@pytest.mark.parametrize("page", ["pocketenv", "sandbox", "managed", "combinators", "fan_out"])
def test_pages_signatures(site: Path, page: str) -> None:
    """No signature shows a private alias."""
    blocks = re.findall(r'<div class="[^"]*doc-signature.*?</div>', pages(site)[f"api/{page}.html"], re.DOTALL)
    shown = [html.unescape(re.sub(r"<[^>]+>", "", block)) for block in blocks]
    assert len(shown) > 0
    aliases = re.compile(rf"(?:: |\| |\[)({'|'.join(ALIASES.split())})\b")
    assert {found for text in shown for found in aliases.findall(text)} == set()


def test_pages_combinator_signature(site: Path) -> None:
    """A combinator has the signature that its callers use."""
    text = html.unescape(re.sub(r"<[^>]+>", "", pages(site)["api/managed.html"]))
    assert re.search(r"ephemeral\(\s*use: Step\[Sandbox, C\],.*?\) -> Step\[str, C\]", text, re.DOTALL)


def test_pages_links(site: Path) -> None:
    """Each link leads to an existing page and anchor."""
    found = pages(site)
    for name, text in found.items():
        if name == "404.html":
            continue  # its links are for a server
        for link in re.findall(r'(?:href|src)="([^"]*)"', text):
            path, _, anchor = html.unescape(link).partition("#")
            if path.startswith(("https:", "mailto:", "data:")):
                continue
            target = ((site / name).parent / path).resolve() if path else site / name
            target = target / "index.html" if target.is_dir() else target
            # A server has no files but those of the site: what lies beside it in this clone is a 404 there.
            assert target.is_relative_to(site.resolve()), f"{name}: {link} leads out of the site"
            assert target.exists(), f"{name}: {link}"
            if anchor and target.suffix == ".html":
                assert re.search(rf'(?:id|name)="{re.escape(anchor)}"', target.read_text(encoding="utf-8")), (
                    name,
                    link,
                )


def test_pages_notebooks(site: Path) -> None:
    """Each notebook has a page."""
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"notebooks/{notebook.stem}.html" in pages(site)


def test_search_first_words(site: Path) -> None:
    """The search index has the words of a new user."""
    index = (site / "search.json").read_text(encoding="utf-8").lower()
    for word in ("token", "login", "persist", "live", "stdin", "wait", "retry", "volume", "timeout"):
        assert word in index, word


def test_pages_no_remote_files(site: Path) -> None:
    """No page loads a file from another site."""
    for name, text in pages(site).items():
        fetched = re.findall(
            r'<(?:script|img|iframe|link rel="(?:stylesheet|preconnect|icon)")[^>]*"(https?:[^"]*)"', text
        )
        assert fetched == [], name
