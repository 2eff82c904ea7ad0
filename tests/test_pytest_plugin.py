"""The plugin as its users have it: runs of pytest in a process and a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from pocketenv_fp.local.box import bubblewrap
from tests.levels import LEVELS

pytest_plugins = ["pytester"]

Run = Callable[..., pytest.RunResult]
PLUGIN = "pocketenv_fp.pytest_plugin"


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest on a test module, with the plugins that are named and no others."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))

    def running(source: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-p", PLUGIN, "-W", "error", *options)

    return running


def test_plugin_entry_point() -> None:
    """pytest loads the plugin through its entry point."""
    (found,) = [each for each in entry_points(group="pytest11") if each.name == "pocketenv_fp"]
    assert found.value == PLUGIN


def test_plugin_first_test(run: Run) -> None:
    """A short test with the fixture runs on a platform."""
    result = run("""
        from pocketenv_fp import create, exec, start

        def test_my_pipeline(pocketenv_local):
            result = create("box") | start | exec("echo", ["hi"])
            assert result.unwrap().stdout == "hi\\n"
    """)
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r"pocketenv_local: isolation '(bubblewrap|processes)'"])


def test_plugin_new_user_for_each_test(run: Run) -> None:
    """Tests share one platform, and each has its own user."""
    result = run("""
        from pocketenv_fp import create, list_sandboxes_by_actor, me
        from pocketenv_fp.local.faults import Refuse

        seen = []

        def one(here):
            assert here.calls == []
            assert here.faults.pending == () == here.faults.seen
            assert here.worked("*") == 0
            profile = me().unwrap()
            assert profile.handle == here.handle
            assert list_sandboxes_by_actor(profile.did).unwrap().total == 0
            box = create("box").unwrap()
            assert here.worked("sandbox.createSandbox") == 1
            assert [method for method, _ in here.calls].count("io.pocketenv.sandbox.createSandbox") == 1
            alice = here.new_user("alice.test")
            assert list_sandboxes_by_actor(me(token=alice).unwrap().did).unwrap().total == 0
            create("hers", token=alice).unwrap()
            here.faults.add("*", Refuse(503), times=None)
            seen.append((here.url, here.token, box.id))

        def test_a(pocketenv_local):
            one(pocketenv_local)

        def test_b(pocketenv_local):
            one(pocketenv_local)

        def test_one_platform_two_users():
            (first, second) = seen
            assert first[0] == second[0]
            assert first[1] != second[1] and first[2] != second[2]
    """)
    result.assert_outcomes(passed=3)


def test_plugin_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names the platform during the test, and is restored after it."""
    monkeypatch.setenv("POCKETENV_API_URL", "https://elsewhere.example")
    monkeypatch.delenv("POCKETENV_TOKEN", raising=False)
    result = run("""
        import os, subprocess, sys

        def ours():
            return {name: value for name, value in os.environ.items() if name.startswith("POCKETENV_")}

        def test_before():
            assert ours() == {"POCKETENV_API_URL": "https://elsewhere.example"}

        def test_during(pocketenv_local):
            assert ours() == pocketenv_local.environment
            assert pocketenv_local.environment == {
                "POCKETENV_API_URL": pocketenv_local.url,
                "POCKETENV_STORAGE_URL": pocketenv_local.storage_url,
                "POCKETENV_PUBLIC_KEY": pocketenv_local.public_key,
                "POCKETENV_TOKEN": pocketenv_local.token,
            }
            code = "from pocketenv_fp import me; print(me().unwrap().handle)"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            assert done.stdout.strip() == pocketenv_local.handle

        test_after = test_before
    """)
    result.assert_outcomes(passed=3)


def test_plugin_overrides_other_logins(run: Run, pytester: pytest.Pytester) -> None:
    """An outer `using` block and a token file have no effect on the test."""
    folder = pytester.mkdir(".pocketenv")
    (folder / "token.json").write_text("nonsense")
    pytester.makeconftest("""
        import pytest
        from pocketenv_fp import Config, using

        @pytest.fixture(autouse=True, scope="session")
        def elsewhere():
            with using(Config(api_url="http://127.0.0.1:9", token="another", retries=0)):
                yield
    """)
    result = run("""
        from concurrent.futures import ThreadPoolExecutor
        from pocketenv_fp import Config, me, using
        from pocketenv_fp.config import settings

        def test_outer_login(pocketenv_local):
            assert me().unwrap().handle == pocketenv_local.handle
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(me).result().unwrap().handle == pocketenv_local.handle

        def test_own_login(pocketenv_local):
            alice = pocketenv_local.new_user("alice.test")
            assert me(token=alice).unwrap().handle == "alice.test"
            with using(Config(token=alice)):
                assert me().unwrap().handle == "alice.test"

        def test_block_restored():
            assert settings().unwrap().api_url == "http://127.0.0.1:9"
    """)
    result.assert_outcomes(passed=3)


@pytest.mark.parametrize("isolation", LEVELS)
def test_plugin_cleanup(run: Run, pytester: pytest.Pytester, isolation: str) -> None:
    """Processes and files of a test are removed before the next one."""
    if isolation == "bubblewrap" and bubblewrap() is None:
        pytest.skip("bubblewrap does not work here")
    result = run(
        """
        import subprocess, time
        from pathlib import Path
        from pocketenv_fp import create, exec, start

        left = {}

        def sleepers():
            listed = subprocess.run(["ps", "-A", "-ww", "-o", "args"], capture_output=True, text=True, check=True)
            return [line for line in listed.stdout.splitlines() if line.startswith(f"sleep {left['number']}")]

        def test_leftovers(pocketenv_local):
            left["number"] = f"100.{pocketenv_local.url.rpartition(':')[2]}7"
            left["folder"] = pocketenv_local._platform.data
            alice = pocketenv_local.new_user("alice.test")
            for token in (pocketenv_local.token, alice):
                for number in range(2):
                    name = f"box-{number}-{'hers' if token == alice else 'mine'}"
                    box = (create(name, token=token) | start(token=token)).unwrap()
                    exec(box, f"sleep {left['number']} & setsid sleep {left['number']} &", token=token).unwrap()
            # A command's answer does not wait for what it put into the background.
            end = time.monotonic() + 20
            while len(sleepers()) < 8 and time.monotonic() < end:
                time.sleep(0.05)
            assert len(sleepers()) == 8

        def test_no_leftovers():
            assert sleepers() == []
            assert list((left["folder"] / "sandboxes").iterdir()) == []
            Path("folder").write_text(str(left["folder"]))
        """,
        f"--pocketenv-isolation={isolation}",
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"pocketenv_local: isolation '{isolation}'"])
    assert not Path((pytester.path / "folder").read_text()).exists()


@pytest.mark.slow
def test_plugin_xdist(run: Run, pytester: pytest.Pytester) -> None:
    """Each worker of xdist has its own platform."""
    result = run(
        """
        import os
        from pathlib import Path
        import pytest
        from pocketenv_fp import create, exec, start

        @pytest.mark.parametrize("number", range(4))
        def test_run(pocketenv_local, number):
            result = create("box") | start | exec(f"echo {number}")
            assert result.unwrap().stdout == f"{number}\\n"
            worker = os.environ["PYTEST_XDIST_WORKER"]
            Path(f"{worker}-{number}").write_text(f"{worker} {pocketenv_local.url}")
        """,
        *("-p", "xdist", "-n", "2", "--dist", "each"),
    )
    result.assert_outcomes(passed=8)
    lines = {path.read_text() for path in pytester.path.glob("gw*-*")}
    assert len({line.split()[0] for line in lines}) == len({line.split()[1] for line in lines}) == len(lines) == 2


def test_plugin_without_extra(run: Run, pytester: pytest.Pytester) -> None:
    """Without the extra, the error names the package to install."""
    pytester.makeconftest("import sys; sys.modules['uvicorn'] = None")
    result = run("""
        def test_one(pocketenv_local):
            pass

        def test_two(pocketenv_local):
            pass

        def test_without_fixture():
            pass
    """)
    result.assert_outcomes(errors=2, passed=1)
    result.stdout.fnmatch_lines(["pocketenv_local: uvicorn is missing: pip install *[[]local]*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("pocketenv_local: isolation*")


def test_plugin_isolation_not_available(run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """An isolation that is not available is one line of error."""
    monkeypatch.setenv("PATH", str(pytester.path))
    result = run("def test_one(pocketenv_local): pass", "--pocketenv-isolation=bubblewrap")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["pocketenv_local cannot start: *bubblewrap*"])


def test_plugin_hides_token(run: Run) -> None:
    """The output of a failed test does not have the token."""
    result = run(
        """
        from pathlib import Path

        def test_one(pocketenv_local):
            Path("token").write_text(pocketenv_local.token.rpartition(".")[2])
            assert not pocketenv_local
        """,
        "--showlocals",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*<PocketenvLocal http://127.0.0.1:*"])
    result.stdout.no_fnmatch_line(f"*{Path('token').read_text()}*")


def test_plugin_unused_loads_nothing() -> None:
    """An unused plugin imports neither the server nor the client."""
    heavy = ("uvicorn", "starlette", "nacl", "requests", "urllib3", "toolz", "pocketenv_fp.local.server")
    code = f"import sys, {PLUGIN}; print([name for name in {heavy!r} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_library_imports_no_pytest() -> None:
    """The library does not import pytest."""
    code = "import sys, pocketenv_fp, pocketenv_fp.local.server; print('pytest' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
