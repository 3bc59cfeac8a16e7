import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from runs.models import Snapshot
from runs.source import snapshots
from runs.source.blobs import BlobStore, store_for
from runs.source.snapshots import Manifest, ManifestEntry, create_snapshot
from tests.factories import make_team
from workspace.models import Team
from workspace.platform.errors import Conflict, Invalid, NotFound, TooLarge

pytestmark = pytest.mark.django_db


def stored(store: BlobStore, files: dict[str, bytes]) -> Manifest:
    return Manifest.of(ManifestEntry(path, *store.put_stream(body)) for path, body in files.items())


def snapshot_of(team: Team, files: dict[str, bytes], by: User | None = None) -> Snapshot:
    return create_snapshot(team=team, by=by, manifest=stored(store_for(team), files))


def test_the_same_directory_is_the_same_snapshot(team: Team, bob: User):
    first = snapshot_of(team, {"b.py": b"2", "a.py": b"1"}, bob)
    second = snapshot_of(team, {"a.py": b"1", "b.py": b"2"}, bob)

    assert first == second
    assert (first.file_count, first.total_bytes, first.created_by) == (2, 2, bob)


def test_every_file_can_be_read_again(team: Team):
    snapshot = snapshot_of(team, {"train.py": b"print()", "data/ü.csv": b"1,2"})

    files = snapshots.read(snapshot)

    assert {path: reader() for path, reader in files.items()} == {
        "train.py": b"print()",
        "data/ü.csv": b"1,2",
    }


def test_the_tar_holds_every_file_and_is_always_the_same_bytes(team: Team):
    store = store_for(team)
    long_name = "d" * 120 + "/" + "ü" * 100 + ".py"
    files = {"train.py": b"print()", "empty": b"", long_name: b"x" * 3_000_000}
    manifest = stored(store, files)

    first, second = (b"".join(snapshots.tar_of(store, manifest)) for _ in range(2))

    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first), mode="r|") as tar:
        seen = {}
        for member in tar:
            assert (member.mode, member.mtime, member.isreg()) == (0o644, 0, True)
            content = tar.extractfile(member)
            assert content
            seen[member.name] = content.read()
    assert seen == files


def test_a_manifest_that_names_a_file_never_sent_makes_nothing(team: Team):
    manifest = Manifest.of([ManifestEntry("train.py", hashlib.sha256(b"never").hexdigest(), 5)])

    with pytest.raises(Invalid, match=r"train\.py was not uploaded"):
        create_snapshot(team=team, by=None, manifest=manifest)

    assert not Snapshot.objects.exists()


def test_a_manifest_that_lies_about_a_size_makes_nothing(team: Team):
    digest, _ = store_for(team).put_stream(b"12345")
    manifest = Manifest.of([ManifestEntry("train.py", digest, 4)])

    with pytest.raises(Invalid, match="announced with 4 bytes, but the file of that digest has 5"):
        create_snapshot(team=team, by=None, manifest=manifest)

    assert not Snapshot.objects.exists()


def test_a_manifest_that_gives_one_file_two_sizes_makes_nothing(team: Team):
    digest, _ = store_for(team).put_stream(b"12345")
    manifest = Manifest.of([ManifestEntry("a.py", digest, 4), ManifestEntry("b.py", digest, 5)])

    with pytest.raises(Invalid, match=r"a\.py is announced with 4 bytes"):
        create_snapshot(team=team, by=None, manifest=manifest)

    assert not Snapshot.objects.exists()


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/etc/passwd", "absolute"),
        ("../up.py", r"\.\."),
        ("a/../../up.py", r"\.\."),
        ("a//b.py", "empty"),
        ("./a.py", "empty or ."),
        ("a\\b.py", "backslash"),
        ("C:/a.py", "drive letter"),
        ("a\0b.py", "NUL"),
        ("a\nb.py", "control character"),
        ("bad\udc80.py", "not UTF-8"),
        ("n" * 256, "longer than 255"),
        ("d/" * 100 + "f", "100 folders deep"),
        ("", "empty"),
    ],
)
def test_a_path_that_leads_astray_is_refused(path: str, problem: str):
    with pytest.raises(Invalid, match=problem):
        Manifest.of([ManifestEntry(path, "0" * 64, 1)])


@pytest.mark.parametrize(
    ("paths", "problem"),
    [
        (["a.py", "a.py"], "listed twice"),
        (["Train.py", "train.py"], "only by case or Unicode form"),
        (["caf\u00e9.py", "cafe\u0301.py"], "only by case or Unicode form"),
        (["Data/a", "data/b"], "only by case or Unicode form"),
        (["a", "a/b"], "both a file and a folder"),
        (["a/b", "A"], "both a file and a folder"),
    ],
)
def test_names_that_would_become_one_file_are_refused(paths: list[str], problem: str):
    with pytest.raises(Invalid, match=problem):
        Manifest.of(ManifestEntry(path, "0" * 64, 1) for path in paths)


def test_a_directory_over_the_teams_limit_is_refused_with_the_ten_largest():
    team = make_team()
    team.snapshot_max_bytes = 100
    files = {f"f{size}.bin": b"x" * size for size in range(1, 30)}

    with pytest.raises(TooLarge) as refused:
        snapshot_of(team, files)

    assert [error.field for error in refused.value.errors] == [
        f"f{size}.bin" for size in range(29, 19, -1)
    ]
    assert "f29.bin (29 B)" in refused.value.message


def test_only_new_and_changed_files_count_against_the_limit():
    team = make_team()
    team.snapshot_max_files = 3
    files = {"a.py": b"a", "b.py": b"b", "c.py": b"c"}
    snapshot_of(team, files)

    more = {**files, "a.py": b"changed", "d.py": b"d", "e.py": b"e"}
    assert snapshot_of(team, more).file_count == 5

    with pytest.raises(TooLarge, match="4 files are new or changed"):
        snapshot_of(team, {**more, **{f"new{number}.py": b"%d" % number for number in range(4)}})


def test_an_empty_directory_is_refused(team: Team):
    with pytest.raises(Invalid, match="No files to upload"):
        create_snapshot(team=team, by=None, manifest=Manifest.of([]))


def test_a_page_shows_text_and_says_what_is_not_text(team: Team):
    long_text = "ü" * 200_000
    snapshot = snapshot_of(
        team, {"a.py": b"print()", "b.bin": b"\x00\x01", "c.txt": long_text.encode(), "d": b"\xff"}
    )

    assert snapshots.shown_file(snapshot, "a.py").text == "print()"
    assert snapshots.shown_file(snapshot, "b.bin").text is None
    assert snapshots.shown_file(snapshot, "d").text is None
    cut = snapshots.shown_file(snapshot, "c.txt")
    assert cut.is_cut
    assert cut.text
    assert long_text.startswith(cut.text)
    with pytest.raises(NotFound, match="has no file"):
        snapshots.shown_file(snapshot, "../a.py")


def test_a_damaged_list_of_files_is_told_and_mended_when_the_files_come_again(team: Team):
    snapshot = snapshot_of(team, {"train.py": b"print()"})
    store_for(team).path(snapshot.digest).write_bytes(b"")

    with pytest.raises(Conflict, match=r"is damaged in the storage\. Upload the files again\."):
        snapshots.manifest_of(snapshot)
    assert snapshots.known_digests(team) == set()

    assert snapshot_of(team, {"train.py": b"print()"}) == snapshot
    assert snapshots.manifest_of(snapshot).entries


def test_files_and_their_list_are_on_the_disk_before_the_row_is(
    team: Team, monkeypatch: pytest.MonkeyPatch
):
    store, content = store_for(team), b"print()"
    synced: list[set[str]] = []

    def sync(folder: Path) -> None:
        assert not Snapshot.objects.exists()
        synced.append({path.name for path in folder.rglob("*") if path.is_file()})

    monkeypatch.setattr("runs.source.blobs.sync_filesystem", sync)
    snapshot = snapshot_of(team, {"train.py": content})

    assert synced == [{snapshot.digest, hashlib.sha256(content).hexdigest()}]
    assert store.has(synced[0]) == synced[0]
