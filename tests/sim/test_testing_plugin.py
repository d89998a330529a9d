"""The pytest plugin, and the worked examples of its page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import carrick.sim
import carrick.testing.nodes
import carrick.transports.quic  # noqa: F401 - loaded here, so that pytester does not unload them

pytest_plugins = ["pytester"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "testing.md"


def run(pytester: pytest.Pytester, source: str, *args: str, mode: str = "") -> pytest.RunResult:
    """pytest with the plugin, which is found by its entry point, in this process."""
    pytester.makeini(f"[pytest]\naddopts = --strict-markers\n{mode}")
    pytester.makepyfile(source)
    return pytester.runpytest("-p", "no:cacheprovider", *args)


def test_the_examples_of_the_page(pytester: pytest.Pytester) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    examples = {f"test_{n}": block for n, block in enumerate(blocks) if "async def test_" in block}
    assert len(examples) == 3
    pytester.makepyfile(**examples)
    run(pytester, "").assert_outcomes(passed=3)


def test_tests_that_use_no_internet_are_left_alone(pytester: pytest.Pytester) -> None:
    source = """
        import time
        import trio

        async def test_real_time(nursery):
            started = time.monotonic()
            await trio.sleep(0.01)
            assert time.monotonic() - started >= 0.01

        def test_plain():
            pass
    """
    run(pytester, source, mode="trio_mode = true").assert_outcomes(passed=2)


def test_a_project_may_have_an_internet_of_its_own(pytester: pytest.Pytester) -> None:
    source = """
        import pytest

        @pytest.fixture
        def internet():
            return 7

        def test_own(internet):
            assert internet == 7
    """
    run(pytester, source).assert_outcomes(passed=1)


def test_other_projects_do_not_pay_for_it() -> None:
    """pytest imports the plugin in every run of an environment that has Carrick."""
    code = "import sys, carrick.testing.plugin; print('trio' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


REPEATABLE = """
    import pytest
    from carrick.sim import Link

    @pytest.mark.internet(seed=3, access=Link(latency=0.02, jitter=0.02))
    async def test_shown(internet, nodes):
        a, b = await nodes(2)
        await a.connect(b)
        print("SAW", internet.seed, a.id, internet.time())
"""


def seen(result: pytest.RunResult) -> str:
    result.assert_outcomes(passed=1)
    return next(line for line in result.outlines if "SAW" in line)


def test_the_seed_decides_keys_and_times(pytester: pytest.Pytester) -> None:
    first = seen(run(pytester, REPEATABLE, "-s"))
    assert "SAW 3 " in first  # as the marker says
    assert seen(run(pytester, REPEATABLE, "-s")) == first
    other = seen(run(pytester, REPEATABLE, "-s", "--carrick-seed=4"))
    assert "SAW 4 " in other
    assert other.split()[-2:] != first.split()[-2:]
    assert seen(run(pytester, REPEATABLE, "-s", "--carrick-seed=random")) not in (first, other)


def test_a_seed_that_is_none_is_refused(pytester: pytest.Pytester) -> None:
    result = run(pytester, REPEATABLE, "--carrick-seed=x")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_a_failure_says_how_to_repeat_it_and_is_drawn(pytester: pytest.Pytester) -> None:
    source = """
        async def test_fails(internet, nodes):
            a, b = await nodes(2)
            await a.connect(b)
            assert internet.seed == 0
    """
    result = run(pytester, source, "--carrick-seed=9", "--carrick-diagram=drawn")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["seed 9; once more: *pytest --carrick-seed=9 '*::test_fails'", "* packets in 0.* s of*"]
    )
    (page,) = (pytester.path / "drawn").iterdir()
    assert "<svg" in page.read_text() and "host-1" in page.read_text()


def test_the_end_of_all_events_is_a_failure(pytester: pytest.Pytester) -> None:
    source = """
        import trio

        async def test_waits(internet):
            await trio.sleep_forever()
    """
    result = run(pytester, source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Deadlock*"])


def test_threads_are_refused(pytester: pytest.Pytester) -> None:
    source = """
        import trio

        async def test_thread(internet):
            await trio.to_thread.run_sync(int)
    """
    result = run(pytester, source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ThreadStarted*"])


def test_an_async_fixture_may_build_on_it(pytester: pytest.Pytester) -> None:
    source = """
        import pytest

        @pytest.fixture
        async def pair(nodes):
            a, b = await nodes(2, listen=["/ip4/0.0.0.0/udp/4001/quic-v1"])
            await a.connect(b)
            yield a, b

        async def test_quic(pair):
            a, b = pair
            assert [each.transport for each in a.connections] == ["quic-v1"]
    """
    run(pytester, source).assert_outcomes(passed=1)
