"""A recipe reaches the folders that an operator put in place and the hub, and nothing else on a worker's disk."""

from pathlib import Path

import pytest

from worker.core.backbone import BackboneError, model_folder
from worker.core.backbone_sources import Sources


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """Two model folders, of which only one lies where it may be used; a link leads to the other."""
    for folder in (tmp_path / "backbones" / "own" / "tiny", tmp_path / "private"):
        folder.mkdir(parents=True)
        for name in ("config.json", "model.safetensors"):
            (folder / name).write_text("{}")
    (tmp_path / "backbones" / "link").symlink_to(tmp_path / "private")
    return Sources(tmp_path / "backbones", ("Qwen",))


def test_a_folder_is_named_by_its_path_there(sources: Sources, tmp_path: Path) -> None:
    own = tmp_path / "backbones" / "own" / "tiny"
    assert model_folder("own/tiny", sources) == own
    assert model_folder(str(own), sources) == own
    assert model_folder(str(tmp_path / "private")) == tmp_path / "private"  # whoever runs the command may


@pytest.mark.parametrize(
    "name",
    ["../private", "own/../../private", "{root}/private", "{root}/nothing", ".", "", "link", "Other/model", "gpt2"],
)
def test_what_may_not_be_used_is_refused_alike_whether_it_exists_or_not(
    sources: Sources, tmp_path: Path, name: str
) -> None:
    name = name.format(root=tmp_path)
    with pytest.raises(BackboneError) as refused:
        model_folder(name, sources)
    rule, said = str(refused.value).split("; ")
    assert said == f"{name!r} is none of them."
    assert str(tmp_path) not in rule


def test_the_door_refuses_by_the_name_alone(sources: Sources, tmp_path: Path) -> None:
    for name in ("embedded", "own/tiny", "Qwen/Qwen3-0.6B", "a/b", str(tmp_path / "backbones" / "none")):
        sources.check(name)
    for name in ("..", "../private", "a/../..", "/etc", str(tmp_path / "backbones")):
        with pytest.raises(ValueError, match="backbone: must be 'embedded', the name of a model"):
            sources.check(name)


def test_the_hub_is_asked_for_names_only() -> None:
    anyone, ours = Sources(Path("/x")), Sources(Path("/x"), ("Qwen",))
    assert all(anyone.may_fetch(name) for name in ("gpt2", "Qwen/Qwen3-0.6B"))
    assert not any(anyone.may_fetch(name) for name in ("a/b/c", "/gpt2", "a..b/c", "-x", "", "https://x/y", "a\n"))
    assert ours.may_fetch("Qwen/Qwen3-0.6B")
    assert not ours.may_fetch("gpt2")
    assert Sources.from_dict(ours.to_dict()) == ours
    assert Sources.from_dict({}) == Sources()
