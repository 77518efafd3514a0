from __future__ import annotations

from pathlib import Path

import pytest

from freehold.core.errors import ConfigError
from freehold.lab.scripted_model import ECHO_AGENT, Call, Rule, Script, load
from freehold.lab.scripted_model.script import Question, decide, read_question


def ask(
    text: str = "hello", *, number: int = 1, history: str = "", results: tuple[str, ...] = (), offers: tuple[str, ...] = ()
) -> Question:
    return Question(number, text, history, results, frozenset(offers))


def test_the_first_rule_that_holds_answers() -> None:
    script = Script(rules=(Rule(user="bye", text="a"), Rule(user="HELLO", text="b"), Rule(text="c")))
    answer = decide(script, ask("well, hello"), {})
    assert answer and answer.text == "b"


@pytest.mark.parametrize(
    ("rule", "question", "holds"),
    [
        (Rule(), ask(), True),
        (Rule(user="^hello$"), ask("hello there"), False),
        (Rule(history="blue"), ask(history="I like Blue"), True),
        (Rule(history="blue"), ask("blue"), False),
        (Rule(offers="search"), ask(offers=("calculate",)), False),
        (Rule(offers="search"), ask(offers=("search",)), True),
        (Rule(tool_results=0), ask(results=("1",)), False),
        (Rule(tool_results=2), ask(results=("1", "2")), True),
        (Rule(request=2), ask(number=1), False),
        (Rule(request=2), ask(number=2), True),
    ],
)
def test_a_rule_holds_when_all_its_conditions_do(rule: Rule, question: Question, holds: bool) -> None:
    assert (decide(Script(rules=(rule,)), question, {}) is not None) is holds


def test_a_rule_is_used_up_after_its_times() -> None:
    script = Script(rules=(Rule(times=2, text="first"), Rule(text="then")))
    texts = [answer.text for used in range(4) if (answer := decide(script, ask(), {0: used}))]
    assert texts == ["first", "first", "then", "then"]


def test_placeholders_are_filled_in_text_and_arguments() -> None:
    rule = Rule(
        user=r"add (\d+)",
        history=r"total (\d+)",
        text="{1} to {h1}: {user} #{n} {unknown}",
        calls=(Call(name="add", arguments={"n": ["{1}"]}),),
    )
    answer = decide(Script(rules=(rule,)), ask("add 5", number=7, history="total 3, total 4"), {})
    assert answer and answer.text == "5 to 4: add 5 #7 {unknown}"
    assert answer.calls[0].arguments == {"n": ["5"]}


def test_a_request_is_read_back_to_its_last_user_message() -> None:
    body = {
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "one"},
            {"role": "tool", "content": "old"},
            {"role": "assistant", "content": None},
            {"role": "user", "content": [{"type": "text", "text": "two"}, {"type": "image_url"}]},
            {"role": "tool", "content": "new"},
        ],
        "tools": [{"type": "function", "function": {"name": "calculate"}}],
    }
    assert read_question(body, 3) == Question(3, "two", "one\nold\n", ("new",), frozenset({"calculate"}))


def test_the_echo_agent_calculates_with_the_tool_only_where_it_is_offered() -> None:
    offered = decide(ECHO_AGENT, ask("What is 42 * 17? Use the calculator.", offers=("calculate",)), {})
    assert offered and offered.calls == (Call(name="calculate", arguments={"expression": "42 * 17"}),)
    alone = decide(ECHO_AGENT, ask("What is 42 * 17?"), {})
    assert alone and alone.text == "You said: What is 42 * 17?"


def test_the_echo_agent_goes_on_with_the_last_number() -> None:
    answer = decide(ECHO_AGENT, ask("Divide it by 3", history="What is 42 * 17?\n714\nThe result is 714.", offers=("calculate",)), {})
    assert answer and answer.calls[0].arguments == {"expression": "714 / 3"}


def test_the_echo_agent_remembers_a_name() -> None:
    answer = decide(ECHO_AGENT, ask("And what is my name?", history="my name is Ada"), {})
    assert answer and answer.text == "Your name is Ada."


def test_a_script_is_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "answers.toml"
    path.write_text('tokens_per_second = 50\n[[rules]]\nuser = "hi"\ncalls = [{ name = "greet", arguments = { to = "you" } }]\n')
    assert load(path) == Script(tokens_per_second=50, rules=(Rule(user="hi", calls=(Call(name="greet", arguments={"to": "you"}),)),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rules]]\nusr = 'x'\n", "rules.0.usr: Extra inputs are not permitted"),
        ("[[rules]]\nfailure = '418'\n", "rules.0.failure: Input should be"),
        ("tokens_per_second = 0\n", "tokens_per_second: Input should be greater than 0"),
        ("rules = [\n", "Invalid"),
    ],
)
def test_a_wrong_script_names_the_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "answers.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(path) in str(caught.value) and message in str(caught.value)


def test_a_missing_script_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.toml")
