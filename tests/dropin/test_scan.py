from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from assistantguard.dropin.calls import Use, uses
from assistantguard.dropin.scan import LARGEST, Scan, scan
from assistantguard.dropin.surface import DIFFERENT, METHODS, NOT_SERVED, SERVED
from assistantguard.errors import ConfigurationError


def found(source: str) -> list[Use]:
    return uses(ast.parse(dedent(source)))


def calls(source: str) -> list[str]:
    return [f"{use.line} {use.name.removeprefix('client.beta.')}" for use in found(source) if use.kind == "call"]


def one(source: str) -> Use:
    (use,) = found(source)
    return use


@pytest.mark.parametrize("row", [row for row in METHODS if not row.name.endswith(".*")], ids=lambda row: row.name)
def test_every_method_is_found_with_its_verdict(row: object) -> None:
    assert isinstance(row, type(METHODS[0]))
    use = one(f"client.beta.{row.name}('x')")
    assert (use.kind, use.name, use.verdict) == ("call", f"client.beta.{row.name}", row.verdict)
    assert [remark.note for remark in use.remarks] == ([row.note] if row.note else [])


@pytest.mark.parametrize(
    "client",
    [
        "client",
        "openai",
        "self.client",
        "app.state.openai",
        "OpenAI()",
        "clients['eu']",
        "get_client(timeout=3)",
        "client.with_options(timeout=3)",
        "client.copy().with_options(max_retries=0)",
        "(await connect())",
    ],
)
def test_a_client_is_known_by_what_follows_it_whatever_it_is_called(client: str) -> None:
    assert calls(f"async def f(self):\n    await {client}.beta.threads.runs.create('t')") == ["2 threads.runs.create"]


@pytest.mark.parametrize(
    "chain",
    [
        "client.beta.threads.runs.with_raw_response.create",
        "client.beta.threads.with_raw_response.runs.create",
        "client.beta.with_streaming_response.threads.runs.create",
        "client.with_raw_response.beta.threads.runs.create",
    ],
)
def test_the_wrappers_of_the_sdk_are_seen_through(chain: str) -> None:
    assert calls(f"{chain}('t')") == ["1 threads.runs.create"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("threads = client.beta.threads\nthreads.create()", ["2 threads.create"]),
        ("beta = client.beta\nruns = beta.threads.runs\nruns.steps.list('r')", ["3 threads.runs.steps.list"]),
        ("beta = get_client().beta\nbeta.threads.create()", ["2 threads.create"]),
        ("from openai import beta as b\nb.assistants.list()", ["2 assistants.list"]),
        ("def f(beta):\n    beta.threads.create()", ["2 threads.create"]),
        ("create = client.beta.threads.create\ncreate()", ["2 threads.create"]),
        (
            "a, t = client.beta.assistants, client.beta.threads\na.list()\nt.create()",
            ["2 assistants.list", "3 threads.create"],
        ),
        ("t: Threads = client.beta.threads\nt.create()", ["2 threads.create"]),
        ("if (t := client.beta.threads):\n    t.create()", ["2 threads.create"]),
        ("t = one.beta.threads if live else two.beta.threads\nt.create()", ["2 threads.create"]),
        ("def f(t=client.beta.threads):\n    t.create()", ["2 threads.create"]),
        ("app.state.threads = client.beta.threads\napp.state.threads.create()", ["2 threads.create"]),
        ("def threads():\n    return client.beta.threads\nthreads().create()", ["3 threads.create"]),
        ("def f():\n    global t\n    t = client.beta.threads\ndef g():\n    t.create()", ["5 threads.create"]),
        (
            "r = client.beta.threads\nr.create()\nr = client.beta.assistants\nr.create(model='m')",
            ["2 threads.create", "4 assistants.create"],
        ),
        ("def f():\n    threads.create()\nthreads = client.beta.threads", ["2 threads.create"]),
    ],
)
def test_names_for_parts_of_the_client_are_followed(source: str, expected: list[str]) -> None:
    assert calls(source) == expected


def test_the_attributes_of_an_object_are_followed_through_its_class_and_those_below() -> None:
    source = """
        class Bot:
            beta = client.beta

            def ask(self):
                self.runs.create("t")
                self.messages.list("t")
                self.make().create()
                self.beta.assistants.list()

            def __init__(self, client):
                self.client = client
                self.runs = self.client.beta.threads.runs

            @property
            def messages(self):
                return self.client.beta.threads.messages

            def make(self):
                return self.client.beta.threads

        class Loud(Bot):
            def shout(this):
                this.runs.cancel("r")

        class Other:
            def ask(self):
                self.runs.create("not the client's")
    """
    assert calls(source) == [
        "6 threads.runs.create",
        "7 threads.messages.list",
        "8 threads.create",
        "9 assistants.list",
        "24 threads.runs.cancel",
    ]


@pytest.mark.parametrize(
    "source",
    [
        "client.responses.create(model='m')",
        "client.beta.chat.completions.parse(model='m')",
        "client.beta.chatkit.threads.list()",
        "client.beta.realtime.sessions.create()",
        "client.vector_stores.create()",
        "optimizer.beta.update(); beta = 0.9; x = self.beta",
        "threads = []\nthreads.append(1)",
        "def f(threads):\n    threads.create()",
        "threads = client.beta.chat\nthreads.create()",
        "slack.threads.messages.list()",
        "'client.beta.threads.create()'",
        "# client.beta.threads.create()",
        "x.post('/threads')",
        "print('https://forum.example/threads/1')",
        "from openai.types.beta.realtime import Session",
        "from openai.types.beta import BetaResponse",
        "from openai.types import FileObject",
        "annotation.text",
    ],
)
def test_what_is_not_the_old_api_is_left_alone(source: str) -> None:
    assert found(source) == []


def test_a_name_of_a_function_hides_the_modules() -> None:
    assert calls("t = client.beta.threads\nt.list\ndef f(t):\n    t.create()\ndef g():\n    t.create()") == [
        "6 threads.create"
    ]


def test_replacing_a_method_in_a_test_is_no_call() -> None:
    assert calls("client.beta.threads.create = Mock()\nclient.beta.threads.create.assert_called_once()") == []


def test_a_method_that_is_handed_on_is_found_where_it_is_named() -> None:
    assert calls("await to_thread(client.beta.threads.runs.poll, 'r')") == ["1 threads.runs.poll"]
    assert calls("later = client.beta.threads.create") == ["1 threads.create"]


@pytest.mark.parametrize(
    "source",
    [
        "helper(client.beta.threads)",
        "getattr(client.beta.threads, name)()",
        "threads = client.beta.threads",
        "def threads():\n    return client.beta.threads",
        "class Bot:\n    def __init__(self, client):\n        self.threads = client.beta.threads",
    ],
)
def test_a_part_that_is_handed_on_is_named_as_not_followed(source: str) -> None:
    use = one(source)
    assert (use.kind, use.name, use.verdict) == ("unfollowed", "client.beta.threads", None)


def test_a_name_that_stands_for_other_things_too_counts_for_its_methods_only() -> None:
    assert calls("m = client.beta.threads.messages\nm = m.list('t')\nfor one in m:\n    m.has_next_page()") == [
        "2 threads.messages.list"
    ]


@pytest.mark.parametrize(
    ("call", "parameter", "verdict"),
    [
        ("threads.runs.create('t', truncation_strategy={'type': 'auto'})", "truncation_strategy", DIFFERENT),
        ("threads.runs.stream(truncation_strategy=strategy)", "truncation_strategy", DIFFERENT),
        ("threads.runs.create_and_poll(max_prompt_tokens=5000)", "max_prompt_tokens", DIFFERENT),
        ("assistants.create(tools=[{'type': 'code_interpreter'}])", "tools", DIFFERENT),
        ("assistants.create(tools=[{'type': 'retrieval'}])", "tools", NOT_SERVED),
        ("assistants.create(tools=TOOLS)", "tools", DIFFERENT),
        ("assistants.create(**OPTIONS)", "tools", DIFFERENT),
        ("assistants.create(file_ids=['file-1'])", "file_ids", NOT_SERVED),
        ("threads.messages.create('t', role='assistant', content='x')", "role", DIFFERENT),
    ],
)
def test_arguments_that_differ_are_named_with_their_call(call: str, parameter: str, verdict: str) -> None:
    use = one(
        f"CODE = {{'type': 'code_interpreter'}}\nTOOLS = [CODE]\nOPTIONS = {{'tools': TOOLS}}\nclient.beta.{call}"
    )
    assert [(remark.about, remark.verdict) for remark in use.remarks] == [(parameter, verdict)]
    assert use.verdict == verdict


@pytest.mark.parametrize(
    "call",
    [
        "threads.runs.create('t', truncation_strategy={'type': 'last_messages', 'last_messages': 5})",
        "threads.runs.create('t', truncation_strategy=None, max_prompt_tokens=None)",
        "threads.runs.create('t', max_completion_tokens=500, temperature=0, metadata={})",
        "assistants.create(tools=[{'type': 'file_search'}], model=MODEL)",
        "threads.messages.create('t', role='user', content='assistant')",
    ],
)
def test_arguments_that_are_served_as_they_were_are_not(call: str) -> None:
    use = one(f"client.beta.{call}")
    assert (use.remarks, use.verdict) == ((), SERVED)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("client.beta.vector_stores.create()", "vector_stores.create"),
        ("client.beta.vector_stores.file_batches.upload_and_poll()", "vector_stores.file_batches.upload_and_poll"),
        ("client.beta.assistants.files.create('a')", "assistants.files.create"),
        ("client.beta.threads.fork('t')", "threads.fork"),
    ],
)
def test_methods_of_older_sdks_and_unknown_ones_are_not_served(source: str, name: str) -> None:
    use = one(source)
    assert (use.name, use.verdict) == (f"client.beta.{name}", NOT_SERVED)


@pytest.mark.parametrize(
    "source",
    [
        "requests.post('https://api.openai.com/v1/threads')",
        "requests.post(f'https://api.openai.com/v1/threads/{thread}/runs')",
        "URL = 'https://x.openai.azure.com/openai/assistants?api-version=2024-05-01-preview'",
    ],
)
def test_an_address_that_is_written_out_is_not_served(source: str) -> None:
    use = one(source)
    assert (use.kind, use.verdict) == ("address", NOT_SERVED)
    assert "assistantguard serve" in use.remarks[0].note


def test_fields_that_differ_are_named_in_a_module_that_uses_the_old_api() -> None:
    source = """
        messages = client.beta.threads.messages.list("t")
        for annotation in messages.data[0].content[0].text.annotations:
            value = value.replace(annotation.text, "")
            client.files.content(annotation.file_path.file_id)
        first = message.content[0].text.annotations[0].text
        print(step.usage.total_tokens, block.image_file.file_id)
    """
    assert [(use.line, use.name.rpartition(".")[2]) for use in found(source) if use.kind == "field"] == [
        (4, "text"),
        (5, "file_id"),
        (6, "text"),
        (7, "usage"),
        (7, "file_id"),
    ]


@pytest.mark.parametrize(
    "source",
    [
        "from openai import AssistantEventHandler, OpenAI",
        "import openai\nclass H(openai.AsyncAssistantEventHandler): ...",
        "from openai.types.beta import Thread",
        "from openai.types.beta.threads.run import Run as R",
        "import openai.types.beta.threads as t",
        "from openai.lib.streaming import AssistantEventHandler",
    ],
)
def test_types_and_handlers_of_the_sdk_are_kept(source: str) -> None:
    use = one(source)
    assert (use.kind, use.verdict) == ("kept", None)


def listed(result: Scan) -> list[tuple[str, str]]:
    return [(Path(each.file).name, each.reason) for each in result.skipped]


def test_a_directory_is_read_without_what_others_wrote(tmp_path: Path) -> None:
    call = "client.beta.threads.create()\n"
    for name in ("app.py", "deep/in/here.py", ".git/a.py", "node_modules/a.py", "venv/a.py", "py/lib/a.py", "notes.md"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(call)
    (tmp_path / "py" / "pyvenv.cfg").touch()
    result = scan([tmp_path, tmp_path / "app.py"])
    assert [Path(finding.place).relative_to(tmp_path).as_posix() for finding in result.findings] == [
        "app.py:1",
        "deep/in/here.py:1",
    ]
    assert (result.files, result.skipped) == (2, [])


def test_a_file_that_is_named_is_read_whatever_its_name(tmp_path: Path) -> None:
    script = tmp_path / "helpdesk"
    script.write_text("#!/usr/bin/env python3\nclient.beta.threads.create()\n")
    assert scan([script]).findings[0].place == f"{script}:2"


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent does not exist: give a Python file"):
        scan([tmp_path / "absent"])


def test_what_cannot_be_read_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "a_broken.py").write_text("def f(:\n")
    (tmp_path / "b_old.py").write_text("print 'Python 2'\n")
    (tmp_path / "c_null.py").write_bytes(b"x = 1\0")
    (tmp_path / "d_coding.py").write_bytes(b"# coding: latin-9000\n")
    (tmp_path / "e_bytes.py").write_bytes(b"x = '\xff\xfe'\n")
    (tmp_path / "f_deep.py").write_text("x = " + "-" * 100_000 + "1\n")
    (tmp_path / "g_long.py").write_text("x = " + " + ".join(["a"] * 20_000) + "\n")
    (tmp_path / "h.ipynb").write_text("[]")
    (tmp_path / "i.ipynb").write_text("{")
    (tmp_path / "j_large.py").write_bytes(b"#" * (LARGEST + 1))
    (tmp_path / "k.py").symlink_to("k.py")
    (tmp_path / "l.py").mkdir()
    (tmp_path / "z.py").write_text("import re\nre.compile('\\d')\nclient.beta.threads.create()\n")
    result = scan([tmp_path])
    assert (result.files, [finding.use.line for finding in result.findings]) == (1, [3])
    reasons = dict(listed(result))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] < "l") == sorted(reasons)
    assert "cannot read it" in reasons["a_broken.py"]
    assert "(line 1)" in reasons["a_broken.py"]
    assert reasons["h.ipynb"] == reasons["i.ipynb"] == "it is no notebook"
    assert reasons["j_large.py"] == "it is larger than 16 MiB"


def test_an_encoding_that_the_file_names_is_read(tmp_path: Path) -> None:
    file = tmp_path / "old.py"
    file.write_bytes("# coding: latin-1\nx = 'ü'\nclient.beta.threads.create()\n".encode("latin-1"))
    assert [finding.use.line for finding in scan([file]).findings] == [3]


@pytest.mark.skipif(sys.platform == "win32", reason="makes a POSIX pipe")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    assert listed(scan([tmp_path])) == [("pipe.py", "it is no regular file")]


def notebook(*cells: str | list[str], language: str = "python") -> str:
    return json.dumps(
        {
            "metadata": {"kernelspec": {"language": language}},
            "cells": [
                {"cell_type": "markdown", "source": "client.beta.threads.create()"},
                *({"cell_type": "code", "source": cell} for cell in cells),
            ],
        }
    )


def test_a_notebook_is_one_program_and_places_are_those_of_its_cells(tmp_path: Path) -> None:
    file = tmp_path / "try.ipynb"
    file.write_text(
        notebook(
            "%pip install openai\n!ls\nclient?\nthreads = client.beta.threads",
            "%%bash\nclient.beta.threads.create()",
            "x = (",
            ["%%time\n", "thread = await threads.create()\n", "threads.delete(thread.id)"],
        )
    )
    result = scan([file])
    assert [finding.place for finding in result.findings] == [f"{file}:cell 5:2", f"{file}:cell 5:3"]
    assert result.files == 1
    assert [each.file for each in result.skipped] == [f"{file}:cell 4"]


def test_a_notebook_of_another_language_holds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "julia.ipynb"
    file.write_text(notebook("client.beta.threads.create()", language="julia"))
    assert scan([file]).findings == []
