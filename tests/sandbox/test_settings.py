"""What a sandbox is called and what is said about it: changed, and looked at afterwards. And the lists of sandboxes."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    ApiError,
    Config,
    DecodeError,
    InvalidInput,
    NameTaken,
    NotLoggedIn,
    PocketenvError,
    Preferences,
    ProfileNotFound,
    Sandbox,
    SandboxNotFound,
    ServerError,
    TransportError,
    Unauthorized,
    create,
    delete,
    get_preferences,
    get_sandbox,
    get_terminal_token,
    iter_sandboxes,
    iter_sandboxes_by_actor,
    list_sandboxes,
    list_sandboxes_by_actor,
    local,
    me,
    pocketenv,
    rename,
    stop,
    update_settings,
    using,
)
from pocketenv_fp.local.faults import Drop, Fault, Garbage, Html, Refuse
from tests import servers
from tests.conformance.recorder import Forgetful, Recorder
from tests.local.wire import BASE, Wire
from tests.servers import BOX, VIEW, Request, Server, client, reply

DETAILS = "io.pocketenv.sandbox.defs#sandboxDetailsPref"
MANY = 60


def fresh(what: str) -> str:
    """A name that no other test gives."""
    return f"{what}-{uuid4()}"


@pytest.fixture
def box(environment: dict[str, str]) -> Sandbox:
    assert environment
    return create(fresh("box")).unwrap()


@pytest.fixture
def other(box: Sandbox) -> Sandbox:
    assert box
    return create(fresh("other")).unwrap()


@pytest.fixture
def somebody(platform: local.Platform) -> Config:
    return Config(token=platform.new_user("somebody-else.test"))


def called(platform: local.Platform) -> list[str]:
    return [name.rpartition(".")[2] for name, _ in platform.calls]


# Names


def test_rename_keeps_id(box: Sandbox, platform: local.Platform) -> None:
    """A renamed sandbox has the new name and keeps its id."""
    name = fresh("renamed")
    platform.calls.clear()
    renamed = (box | rename(name)).unwrap()
    assert called(platform) == ["getSandbox", "putPreferences", "getSandbox"]
    assert (renamed.id, renamed.name) == (box.id, name)
    assert get_sandbox(name).map(lambda seen: seen and seen.id) == Success(box.id)
    assert get_sandbox(box.name) == Success(None)


def test_rename_keeps_settings(box: Sandbox) -> None:
    """A new name changes no other setting."""
    said = update_settings(description="about it", topics=["one", "two"], repo="https://example.com/repo.git")
    before = (box | said).unwrap()
    after = (box | rename(fresh("renamed"))).unwrap()
    assert (after.description, after.topics, after.repo) == (before.description, before.topics, before.repo)
    assert (after.description, after.topics, after.repo) == ("about it", ("one", "two"), "https://example.com/repo.git")
    assert (box | get_preferences) == Success(
        Preferences(name=after.name, description="about it", topics=("one", "two"), repo="https://example.com/repo.git")
    )


def test_rename_name_taken(box: Sandbox, other: Sandbox, somebody: Config) -> None:
    """The name of another sandbox is taken, also that of another user."""
    theirs = create(fresh("theirs"), config=somebody).unwrap()
    for name in (other.name, theirs.name):
        for change in (rename(name), update_settings(name=name, description="d")):
            error = (box | change).failure()
            assert isinstance(error, NameTaken)
            assert name in str(error)
        assert isinstance(pocketenv.put_preferences(box.id, name=name).failure(), NameTaken)
    assert get_sandbox(box.id).map(lambda seen: seen and (seen.name, seen.description)) == Success((box.name, None))


def test_rename_same_name(box: Sandbox) -> None:
    """A sandbox may be renamed to its own name."""
    assert (box | rename(box.name)).unwrap().name == box.name


def test_rename_500_free_name(box: Sandbox, platform: local.Platform) -> None:
    """A 500 for a free name stays a ServerError."""
    platform.faults.add("sandbox.putPreferences", Refuse(500))
    error = (box | rename(fresh("free"))).failure()
    assert type(error) is ServerError
    platform.faults.add("sandbox.putPreferences", Refuse(500))
    error = (box | rename(box.name)).failure()
    assert type(error) is ServerError


def test_rename_to_id(box: Sandbox, other: Sandbox, platform: local.Platform) -> None:
    """The id or the URI of a sandbox is no name."""
    platform.faults.add("sandbox.putPreferences", Refuse(500))
    # A name like this one is refused before anything is sent: its at-URI is no name either.
    for name in (other.id, other.uri or ""):
        assert isinstance((box | rename(name)).failure(), InvalidInput)
    assert len(platform.faults.pending) == 1
    assert type((box | rename(fresh("free"))).failure()) is ServerError


def test_put_preferences_look_fails(box: Sandbox, other: Sandbox, platform: local.Platform) -> None:
    """A ServerError stays if the look at the name fails."""
    platform.faults.add("sandbox.getSandbox", Html())
    assert type(pocketenv.put_preferences(box.id, name=other.name).failure()) is ServerError


@pytest.mark.parametrize("fault", [Html(), Refuse(500), Garbage(), Garbage(body=b"{}")])
def test_rename_unknown_settings(box: Sandbox, platform: local.Platform, fault: Fault) -> None:
    """Nothing is changed if the old settings cannot be read."""
    platform.faults.add("sandbox.getSandbox", fault)
    platform.calls.clear()
    assert isinstance(box | rename(fresh("unknown"), config=Config(retries=0)), Failure)
    assert called(platform) == ["getSandbox"]
    assert get_sandbox(box.id).map(lambda seen: seen and seen.name) == Success(box.name)


def test_rename_502(box: Sandbox, other: Sandbox, platform: local.Platform) -> None:
    """Only after a 500 the name is looked up."""
    platform.faults.add("sandbox.putPreferences", Refuse(502))
    platform.calls.clear()
    assert type((box | rename(other.name)).failure()) is ServerError
    assert called(platform) == ["getSandbox", "putPreferences"]


def test_rename_lost_answer(box: Sandbox, platform: local.Platform) -> None:
    """A lost answer is a Failure, and the change may have happened."""
    name = fresh("lost")
    platform.faults.add("sandbox.putPreferences", Drop(after_work=True))
    platform.calls.clear()
    error = (box | rename(name)).failure()
    assert isinstance(error, TransportError)
    assert error.maybe_sent
    assert called(platform) == ["getSandbox", "putPreferences"]
    assert get_sandbox(name).map(lambda seen: seen and seen.id) == Success(box.id)


# Settings


def test_update_settings_some(box: Sandbox) -> None:
    """Only the passed settings are changed."""
    first = (box | update_settings(description="one", topics=["a", "é" * 25])).unwrap()
    assert (first.name, first.description, first.topics) == (box.name, "one", ("a", "é" * 25))
    second = (box | update_settings(topics=("b",), repo="https://example.com/x.git")).unwrap()
    assert (second.description, second.topics, second.repo) == ("one", ("b",), "https://example.com/x.git")
    third = (box | update_settings(name=fresh("third"), description="three")).unwrap()
    assert (third.description, third.topics, third.repo) == ("three", ("b",), "https://example.com/x.git")


def test_update_settings_empty_values(box: Sandbox) -> None:
    """Empty values remove settings."""
    (box | update_settings(description="one", topics=["a"], repo="https://example.com/x.git")).unwrap()
    assert (box | update_settings(description="")).unwrap().description is None
    assert (box | update_settings(topics=[])).unwrap().topics is None
    assert (box | update_settings(repo="")).unwrap().repo is None
    assert (box | get_preferences) == Success(Preferences(name=box.name))
    assert (box | update_settings(topics=())).unwrap().topics is None


@pytest.fixture(params=[Recorder, Forgetful])
def between(request: pytest.FixtureRequest, platform: local.Platform) -> Iterator[Recorder]:
    """What the caller speaks to: the platform, and one that takes away what is not said again."""
    recorder: Recorder = request.param(platform)
    with Server(recorder) as server, using(Config(api_url=server.url)):
        yield recorder


@pytest.mark.parametrize("field", ["description", "topics", "repo"])
def test_update_settings_keeps_others(box: Sandbox, between: Recorder, field: str) -> None:
    """Other settings are kept, also on a platform that forgets them."""
    said: dict[str, Any] = {"description": "one", "topics": ("a", "b"), "repo": "https://example.com/x.git"}
    # By another client, so that the record in hand does not have it.
    assert pocketenv.put_preferences(box.id, **said) == Success(None)
    kept = {name: value for name, value in said.items() if name != field}

    def seen(after: Sandbox) -> dict[str, Any]:
        return {name: getattr(after, name) for name in said}

    assert seen((box | rename(fresh("renamed"))).unwrap()) == said
    another: dict[str, Any] = {field: ("c",) if field == "topics" else "https://example.com/y.git"}
    assert seen((box | update_settings(**another)).unwrap()) == kept | another
    nothing: dict[str, Any] = {field: () if field == "topics" else ""}
    assert seen((box | update_settings(**nothing)).unwrap()) == {**kept, field: None}
    # And what is not there is not made up.
    assert seen((box | rename(fresh("again"))).unwrap()) == {**kept, field: None}
    assert between.exchanges


def test_update_settings_same_name(box: Sandbox, between: Recorder) -> None:
    """A name that does not change is not sent."""
    assert (box | update_settings(description="one")).unwrap().name == box.name
    (put,) = [exchange for exchange in between.exchanges if exchange.method == "putPreferences"]
    assert "name" not in json.loads(put.request.body)["preferences"][0]


def test_update_settings_all(box: Sandbox, platform: local.Platform) -> None:
    """All settings together need no look before."""
    platform.calls.clear()
    (box | update_settings(description="one", topics=["a"], repo="")).unwrap()
    assert called(platform) == ["putPreferences", "getSandbox"]


def test_update_settings_long_topic(box: Sandbox) -> None:
    """A topic that is too long for the platform is its 400."""
    error = (box | update_settings(topics=["é" * 26])).failure()
    assert isinstance(error, ApiError)
    assert error.status == 400


def test_settings_invalid_values(box: Sandbox, platform: local.Platform) -> None:
    """Invalid values are refused before a request is sent."""
    platform.calls.clear()
    for wrong, field in (
        (rename(""), "new_name"),
        (rename(" padded"), "new_name"),
        (rename("a line\n"), "new_name"),
        (update_settings(), "preferences"),
        (update_settings(name=""), "name"),
        (update_settings(topics=["a", ""]), "topics"),
        (update_settings(topics=["x" * 51]), "topics"),
    ):
        error = (box | wrong).failure()
        assert isinstance(error, InvalidInput)
        assert error.field == field
    assert list(platform.calls) == []
    with pytest.raises(TypeError, match="topics"):
        update_settings(topics="a")


def test_settings_not_found(box: Sandbox, other: Sandbox, somebody: Config) -> None:
    """A deleted sandbox or that of another user is not found."""
    (other | delete).unwrap()
    for change in (rename(fresh("gone")), update_settings(description="d")):
        assert isinstance((other | change).failure(), SandboxNotFound)
    for change in (rename(fresh("theirs"), config=somebody), update_settings(topics=["t"], config=somebody)):
        error = (box | change).failure()
        assert isinstance(error, SandboxNotFound)
        assert "may not be yours" in str(error)
    assert isinstance(get_preferences(other).failure(), SandboxNotFound)
    # What is said about a sandbox is public.
    assert get_preferences(box, config=somebody) == get_preferences(box)
    # As the platform has it: the same answer, and nothing done.
    assert pocketenv.put_preferences(box.id, description="d", config=somebody) == Success(None)
    assert get_sandbox(box.id).map(lambda seen: seen and (seen.name, seen.description)) == Success((box.name, None))


def test_update_settings_id_as_name(box: Sandbox, other: Sandbox, platform: local.Platform) -> None:
    """A sandbox whose name is the id of a deleted one is not changed."""
    (other | delete).unwrap()
    # This library refuses such a name, and other clients do not.
    with Wire(platform, platform.token) as wire:
        said = {"$type": DETAILS, "name": other.id}
        assert wire.post("sandbox.putPreferences", {"sandboxId": box.id, "preferences": [said]}).status == 200
    error = (other | update_settings(description="d")).failure()
    assert isinstance(error, SandboxNotFound)
    assert "gone" in str(error)


def test_get_preferences_id_or_name(box: Sandbox) -> None:
    """Preferences are found by id, by name and by URI."""
    for known in (box.id, box.name, box.uri):
        assert known
        assert pocketenv.get_preferences(known) == Success(Preferences(name=box.name))


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (f'[{{"$type": "{DETAILS}"}}]', Preferences()),
        (f'[{{"$type": "other#kind", "name": 3}}, {{"$type": "{DETAILS}", "topics": ["a"]}}]', Preferences(topics=("a",))),
        (f'[{{"$type": "{DETAILS}", "name": "n", "description": null, "new": 1}}]', Preferences(name="n")),
    ],
)  # fmt: skip
def test_get_preferences_other_kinds(answer: str, found: Preferences) -> None:
    """Preferences of other kinds are skipped."""
    with Server(servers.always(reply(answer.encode()))) as server:
        assert (BOX | get_preferences(config=client(server.url))) == Success(found)


def test_get_preferences_not_listed() -> None:
    """Preferences that the list does not have are read from the sandbox."""
    listed = reply(b'[{"$type": "io.pocketenv.sandbox.defs#sandboxProviderPref", "name": "cloudflare"}]')
    view = VIEW.replace(b'"status"', b'"description": "d", "topics": [], "repo": null, "status"')
    with Server(servers.in_turn(listed, reply(view), reply(b"[]"), reply(b"{}"))) as server:
        config = client(server.url)
        assert (BOX | get_preferences(config=config)) == Success(Preferences(name=BOX.name, description="d"))
        assert isinstance((BOX | get_preferences(config=config)).failure(), SandboxNotFound)


@pytest.mark.parametrize(
    "answer", ["{}", "null", "", "[3]", "[{}]", '[{"$type": 3}]', f'[{{"$type": "{DETAILS}", "name": 3}}]']
)
def test_get_preferences_unreadable_answer(answer: str) -> None:
    """An answer that is no list of preferences is a DecodeError."""
    with Server(servers.always(reply(answer.encode()))) as server:
        assert isinstance((BOX | get_preferences(config=client(server.url))).failure(), DecodeError)


def test_put_preferences_body() -> None:
    """Preferences are sent with their type, and only the passed ones."""
    sent: list[Any] = []

    def answer(request: Request) -> servers.Reply:
        if request.verb == "GET":
            return reply(VIEW)
        sent.append(json.loads(request.body))
        return reply(b"")

    with Server(answer) as server:
        config = client(server.url)
        assert pocketenv.put_preferences("3f2a", description="d", config=config) == Success(None)
        assert pocketenv.put_preferences("3f2a", topics=(), repo="", config=config) == Success(None)
        # The sandbox that is seen afterwards has another name than was asked for.
        assert isinstance((BOX | rename("asked-for", config=config)).failure(), SandboxNotFound)
    assert sent == [
        {"sandboxId": "3f2a", "preferences": [{"$type": DETAILS, "description": "d"}]},
        {"sandboxId": "3f2a", "preferences": [{"$type": DETAILS, "topics": None, "repo": None}]},
        {"sandboxId": "3f2a", "preferences": [{"$type": DETAILS, "name": "asked-for"}]},
    ]


def test_put_preferences_empty_topics(box: Sandbox, platform: local.Platform) -> None:
    """The embedded platform stores an empty list of topics as null."""
    (box | update_settings(topics=["a"])).unwrap()
    with Wire(platform, platform.token) as wire:
        body: dict[str, Any] = {"sandboxId": box.id, "preferences": [{"$type": DETAILS, "topics": []}]}
        assert wire.post("sandbox.putPreferences", body).empty
    assert (box | get_preferences).unwrap().topics is None


# Lists of sandboxes


def many(platform: local.Platform, config: Config, count: int = MANY) -> list[str]:
    """Sandboxes made without the library, the newest first."""
    assert config.token
    with Wire(platform, config.token) as wire:
        return [str(wire.post("sandbox.createSandbox", {"base": BASE}).json["id"]) for _ in range(count)][::-1]


@pytest.fixture
def owner(environment: dict[str, str], platform: local.Platform) -> tuple[str, Config]:
    """The handle and the Config of a new user."""
    assert environment
    handle = f"u{uuid4().hex}.test"
    return handle, Config(token=platform.new_user(handle))


def ids(each: Iterator[Result[Sandbox, PocketenvError]]) -> list[str]:
    return [found.unwrap().id for found in each]


@pytest.mark.parametrize("limit", [1, 7, 20, 59, 60, 61])
def test_iter_sandboxes_by_actor_limit(owner: tuple[str, Config], platform: local.Platform, limit: int) -> None:
    """All sandboxes arrive in order, for any size of a page."""
    handle, config = owner
    made = many(platform, config)
    platform.calls.clear()
    assert ids(iter_sandboxes_by_actor(handle, limit=limit)) == made
    assert called(platform) == ["getActorSandboxes"] * -(-MANY // limit)


def test_iter_sandboxes_by_actor_lazy(owner: tuple[str, Config], platform: local.Platform) -> None:
    """A page is requested when it is needed."""
    handle, config = owner
    made = many(platform, config, 20)
    platform.calls.clear()
    each = iter_sandboxes_by_actor(handle, limit=7)
    assert called(platform) == []
    assert [next(each).unwrap().id for _ in range(7)] == made[:7]
    assert len(platform.calls) == 1
    assert next(each).unwrap().id == made[7]
    assert len(platform.calls) == 2


def test_iter_sandboxes_by_actor_fails(owner: tuple[str, Config], platform: local.Platform) -> None:
    """A page that fails is the last item."""
    handle, config = owner
    many(platform, config, 20)
    each = iter_sandboxes_by_actor(handle, limit=7, config=Config(retries=0))
    assert all(isinstance(next(each), Success) for _ in range(7))
    platform.faults.add("actor.getActorSandboxes", Refuse(500))
    (last,) = each
    assert isinstance(last.failure(), ServerError)


def test_list_sandboxes_by_actor_running(owner: tuple[str, Config], platform: local.Platform) -> None:
    """With is_running only running sandboxes are listed and counted."""
    handle, config = owner
    made = many(platform, config, 9)
    running = made[::2]
    for asleep in made[1::2]:
        (get_sandbox(asleep) | stop(config=config)).unwrap()
    page = list_sandboxes_by_actor(handle, limit=2, is_running=True).unwrap()
    assert ([box.id for box in page], page.total) == (running[:2], 5)
    assert list_sandboxes_by_actor(handle, limit=2).unwrap().total == 9
    assert list_sandboxes_by_actor(handle, is_running=False) == list_sandboxes_by_actor(handle)
    assert ids(iter_sandboxes_by_actor(handle, limit=2, is_running=True)) == running
    assert ids(iter_sandboxes_by_actor(handle, limit=2)) == made


def test_list_sandboxes_by_actor_filter() -> None:
    """The filter is sent as true or not at all."""
    with Server(servers.always(reply(b'{"sandboxes": [], "total": 0}'))) as server:
        for is_running in (True, False):
            list_sandboxes_by_actor("a.test", is_running=is_running, config=client(server.url)).unwrap()
        assert ["isRunning" in request.path for request in server.seen] == [True, False]
        assert server.seen[0].path.endswith("&isRunning=true")


@pytest.mark.usefixtures("environment")
def test_iter_sandboxes_pages() -> None:
    """The whole catalogue arrives page by page."""
    whole = list_sandboxes(limit=1000).unwrap()
    assert len(whole) == whole.total
    assert ids(iter_sandboxes(limit=1)) == [image.id for image in whole]


def test_iter_sandboxes_invalid_limit() -> None:
    """An invalid limit is one Failure, and a wrong type raises at once."""
    for each, field in (
        (iter_sandboxes(limit=0), "limit"),
        (iter_sandboxes_by_actor("a.test", limit=0), "limit"),
        (iter_sandboxes_by_actor(""), "did"),
    ):
        (only,) = each
        error = only.failure()
        assert isinstance(error, InvalidInput)
        assert error.field == field
    with pytest.raises(TypeError, match="limit"):
        iter_sandboxes(limit="7")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# The terminal's token


def test_get_terminal_token_hidden(environment: dict[str, str]) -> None:
    """The token can be read, and is in no repr or pickle."""
    assert environment
    made = get_terminal_token().unwrap()
    assert made.token
    for shown in (repr(made), str(made), made.html(), repr(Success(made))):
        assert made.token not in shown
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(made)
    # It is of another kind than the one of the API, which finds no user for it.
    assert isinstance(me(token=made.token).failure(), (ProfileNotFound, Unauthorized))


@pytest.mark.parametrize("answer", [b"{}", b'{"token": null}', b'{"token": 3}', b'"token"'])
def test_get_terminal_token_no_token(answer: bytes) -> None:
    """An answer without a token is a DecodeError."""
    with Server(servers.always(reply(answer))) as server:
        assert isinstance(get_terminal_token(config=client(server.url)).failure(), DecodeError)


def test_get_terminal_token_no_login() -> None:
    """Without a login no request is sent."""
    with Server(servers.ordinary) as server:
        assert get_terminal_token(config=Config(api_url=server.url)) == Failure(NotLoggedIn())
        assert server.seen == []
