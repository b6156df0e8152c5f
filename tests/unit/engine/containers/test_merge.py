from __future__ import annotations

import pytest
from lightship.engine.containers.merge import command, merge
from lightship.engine.errors import InvalidArgument
from lightship.openapi.types.config import Config, HealthConfig
from lightship.openapi.types.images import ImageConfig
from msgspec import UNSET

IMAGE = ImageConfig(entrypoint=["/entry"], cmd=["from-image"])


@pytest.mark.parametrize(
    ("own", "image", "words"),
    [
        (Config(), IMAGE, ["/entry", "from-image"]),
        (Config(cmd=["own"]), IMAGE, ["/entry", "own"]),
        (Config(cmd=[]), IMAGE, ["/entry", "from-image"]),
        (Config(entrypoint=["/own"]), IMAGE, ["/own"]),
        (Config(entrypoint=["/own"], cmd=["x"]), IMAGE, ["/own", "x"]),
        # P53: [] is "no entrypoint", null is "the image's".
        (Config(entrypoint=[]), IMAGE, ["from-image"]),
        (Config(entrypoint=[], cmd=["x"]), IMAGE, ["x"]),
        (Config(entrypoint=[""], cmd=["x"]), IMAGE, ["x"]),
        (Config(cmd=["x"]), None, ["x"]),
        (Config(cmd=[""]), ImageConfig(), [""]),
    ],
)
def test_command(own: Config, image: ImageConfig | None, words: list[str]) -> None:
    path, args = command(merge(own, image))
    assert [path, *args] == words


@pytest.mark.parametrize("own", [Config(), Config(entrypoint=[""]), Config(entrypoint=[], cmd=[])])
def test_no_command(own: Config) -> None:
    with pytest.raises(InvalidArgument, match="^no command specified$"):
        merge(own, ImageConfig())


def test_entrypoint_of_one_empty_word_becomes_none() -> None:
    """`docker run --entrypoint ""`: inspect shows null, and the image's command is not used."""
    with pytest.raises(InvalidArgument):
        merge(Config(entrypoint=[""]), IMAGE)


def test_variables_of_the_client_come_first_and_win() -> None:
    merged = merge(Config(cmd=["x"], env=["B=own", "C"]), ImageConfig(env=["A=1", "B=2", "C=3"]))
    assert merged.env == ["B=own", "C", "A=1"]
    assert merge(Config(cmd=["x"]), ImageConfig(env=["A=1"])).env == ["A=1"]


def test_maps_are_united_and_the_clients_values_win() -> None:
    image = ImageConfig(
        exposed_ports={"80/tcp": {}}, volumes={"/v": {}}, labels={"a": "image", "b": "image"}, working_dir="/w"
    )
    merged = merge(
        Config(cmd=["x"], exposed_ports={"81/tcp": {}}, volumes={"/o": {}}, labels={"a": "own"}, user="me"), image
    )
    assert merged.exposed_ports == {"80/tcp": {}, "81/tcp": {}}
    assert merged.volumes == {"/v": {}, "/o": {}}
    assert merged.labels == {"a": "own", "b": "image"}
    assert (merged.user, merged.working_dir) == ("me", "/w")


def test_empty_maps_keep_dockers_shape() -> None:
    """dockerd shows no ExposedPorts, null Volumes and an empty map of Labels."""
    merged = merge(Config(cmd=["x"], volumes={}), ImageConfig())
    assert merged.exposed_ports is UNSET
    assert merged.volumes is None
    assert merged.labels == {}


def test_healthcheck_is_merged_by_field() -> None:
    image = ImageConfig(healthcheck=HealthConfig(test=["CMD", "image"], interval=10, retries=3))
    merged = merge(Config(cmd=["x"], healthcheck=HealthConfig(test=[], interval=20)), image).healthcheck
    assert merged == HealthConfig(test=["CMD", "image"], interval=20, retries=3)
    assert merge(Config(cmd=["x"]), image).healthcheck == image.healthcheck
    none = HealthConfig(test=["NONE"])
    assert merge(Config(cmd=["x"], healthcheck=none), ImageConfig()).healthcheck == none


def test_stop_signal_comes_from_the_image_unless_given() -> None:
    image = ImageConfig(stop_signal="SIGINT")
    assert merge(Config(cmd=["x"]), image).stop_signal == "SIGINT"
    assert merge(Config(cmd=["x"], stop_signal="SIGHUP"), image).stop_signal == "SIGHUP"
    assert merge(Config(cmd=["x"]), None).stop_signal is UNSET


def test_client_objects_stay_as_they_were() -> None:
    own = Config(cmd=["x"], labels={"a": "own"}, env=["A=1"])
    merge(own, ImageConfig(labels={"b": "image"}, env=["B=1"]))
    assert own.labels == {"a": "own"} and own.env == ["A=1"]
